//! End-to-end tests: real redis-servers, a scripted bad node, real HTTP, the built binary. One module per theme.

mod support;

mod admin;
mod attacks;
mod bad_input;
mod big_values;
mod blocking;
mod blocking_changes;
mod bytes_from_nodes;
mod cli;
mod cli_serve;
mod connection;
mod data_types;
mod differential;
mod distribution;
mod emulate;
mod faults;
mod faults_load;
mod faults_memory;
mod metrics;
mod node_errors;
mod pipeline;
mod pubsub;
mod pubsub_faults;
mod redis_rs;
mod resources;
mod server_commands;
mod server_info;
mod soak;
mod split;
mod tidy;
mod topology;
mod traffic;
mod transaction_faults;
mod transactions;
mod twemproxy;
