//! nsqd and nsqlookupd together: who has which topic, and what becomes of it when one of them is gone.

mod channels_elsewhere;
mod fakes;
mod process;
mod reconfigure;
mod registration;
mod tls;
mod troubled;
