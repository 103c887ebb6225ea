//! JetStream and `$SYS` requests through the agents' tunnel.
