// Scenarios that use nsqd through segmentio/nsq-go: `scenarios <name> <address>`. The address is nsqd's for
// TCP.
//
// Every delivery is reported as a line `<body> <attempts>`; then comes a line `done`, and the program waits for a line
// in return: by then the test has seen in nsqd's statistics that every answer arrived.
// Exit status 0, or 1 and the reason.
//
// The library's producer has neither MPUB nor DPUB, its messages have no TOUCH, and it expects the envelope around
// nsqlookupd's answers that went away with version 1.0.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/nsq-go"
)

const (
	topic   = "nsq-go"
	channel = "scenarios"
	// More than any scenario should take.
	patience = 60 * time.Second
)

var scenarios = map[string]func(address string) error{
	"consume":  consume,
	"requeue":  requeue,
	"time-out": timeOut,
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: %s <scenario> <address>", os.Args[0]))
	}
	scenario, known := scenarios[os.Args[1]]
	if !known {
		fail(fmt.Errorf("no scenario %q", os.Args[1]))
	}
	if err := scenario(os.Args[2]); err != nil {
		fail(err)
	}
}

func consume(address string) error {
	if err := publish(address, bodies(100)); err != nil {
		return err
	}
	return waitForAll(100, nsq.ConsumerConfig{Address: address})
}

// requeue requeues each of 10 messages once.
func requeue(address string) error {
	const delay = 200 * time.Millisecond
	if err := publish(address, bodies(10)); err != nil {
		return err
	}
	requeued := map[string]time.Time{}
	seen := map[string]bool{}
	config := nsq.ConsumerConfig{Address: address, MaxInFlight: 5}
	return deliver(config, func(message *nsq.Message) (bool, error) {
		body := string(message.Body)
		if message.Attempts == 1 {
			requeued[body] = time.Now()
			message.Requeue(delay)
			return false, nil
		}
		if after := time.Since(requeued[body]); after < delay {
			return true, fmt.Errorf("came back after %v, not %v", after, delay)
		}
		seen[body] = true
		message.Finish()
		return len(seen) == 10, nil
	})
}

// timeOut leaves the first delivery without an answer.
func timeOut(address string) error {
	if err := publish(address, []string{"first", "second"}); err != nil {
		return err
	}
	count := 0
	// It asks for more only when it has received as many as it asked for before.
	config := nsq.ConsumerConfig{Address: address, MaxInFlight: 1}
	return deliver(config, func(message *nsq.Message) (bool, error) {
		count++
		if count > 1 {
			message.Finish()
		}
		return count == 3, nil
	})
}

func waitForAll(count int, config nsq.ConsumerConfig) error {
	config.MaxInFlight = 20
	seen := map[string]bool{}
	return deliver(config, func(message *nsq.Message) (bool, error) {
		seen[string(message.Body)] = true
		message.Finish()
		return len(seen) == count, nil
	})
}

// deliver calls handle with each message until it returns true, then waits for the test.
func deliver(config nsq.ConsumerConfig, handle func(*nsq.Message) (bool, error)) error {
	config.Topic, config.Channel = topic, channel
	consumer, err := nsq.StartConsumer(config)
	if err != nil {
		return err
	}
	deadline := time.After(patience)
	for {
		select {
		case message := <-consumer.Messages():
			fmt.Println(string(message.Body), message.Attempts)
			last, err := handle(&message)
			if err != nil {
				return err
			}
			if last {
				fmt.Println("done")
				_, err := bufio.NewReader(os.Stdin).ReadString('\n')
				return err
			}
		case <-deadline:
			return fmt.Errorf("not all messages came within %v", patience)
		}
	}
}

func publish(address string, bodies []string) error {
	producer, err := nsq.StartProducer(nsq.ProducerConfig{Address: address, Topic: topic, MaxConcurrency: 1})
	if err != nil {
		return err
	}
	defer producer.Stop()
	for _, body := range bodies {
		if err := producer.Publish([]byte(body)); err != nil {
			return err
		}
	}
	return nil
}

func bodies(count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("message-%d", i)
	}
	return all
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
