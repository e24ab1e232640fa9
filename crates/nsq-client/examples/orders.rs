//! Publishes five orders to the nsqd that is named. The tutorial shows it.
#![allow(clippy::print_stdout, reason = "it is a program of the command line")]

use nsq_client::{Config, Producer, TopicName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nsqd = std::env::args().nth(1).ok_or("which nsqd? host:port")?;
    let producer = Producer::new(&nsqd, Config::default())?;
    let orders = TopicName::parse("orders")?;
    for number in 1..=5 {
        // Returns when nsqd has answered OK: from then on the order is nsqd's to keep.
        producer.publish(&orders, format!("order {number}")).await?;
    }
    println!("published 5 orders");
    producer.stop().await;
    Ok(())
}
