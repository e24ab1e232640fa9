//! nsqd as nsqjs sees it. The program that uses nsqjs is in `clients/node`.

mod scenarios;

use std::sync::LazyLock;

use nsq_tests::ClientLibrary;

/// The topic that program uses.
const TOPIC: &str = "node";

static LIBRARY: LazyLock<Option<ClientLibrary>> = LazyLock::new(ClientLibrary::node);
