//! A topic.
