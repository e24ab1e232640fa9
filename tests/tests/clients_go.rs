//! nsqd as go-nsq sees it. The program that uses go-nsq is in `clients/go`.

mod scenarios;

use std::sync::LazyLock;

use nsq_tests::ClientLibrary;

/// The topic that program uses.
const TOPIC: &str = "go";

static LIBRARY: LazyLock<Option<ClientLibrary>> = LazyLock::new(ClientLibrary::go);
