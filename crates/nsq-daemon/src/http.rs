//! HTTP as nsqd, nsqlookupd and nsqadmin answer it.
