//! nsqd as pynsq sees it. The program that uses pynsq is in `clients/python`.

mod scenarios;

use std::sync::LazyLock;

use nsq_tests::ClientLibrary;

/// The topic that program uses.
const TOPIC: &str = "python";

static LIBRARY: LazyLock<Option<ClientLibrary>> = LazyLock::new(ClientLibrary::python);
