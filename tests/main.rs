//! End-to-end tests: real redis-servers, a scripted bad node, real HTTP, the built binary. One module per theme.

mod support;

mod admin;
mod admin_attacks;
mod attacks;
mod bad_input;
mod big_values;
mod blocking;
mod blocking_changes;
mod bytes_from_nodes;
mod cli;
mod cli_serve;
mod client_commands;
mod client_modes;
mod connection;
mod data_types;
mod databases;
mod differential;
mod distribution;
mod emulate;
mod faults;
#[cfg(target_os = "linux")]
mod faults_crowds;
mod faults_load;
mod faults_memory;
#[cfg(target_os = "linux")]
mod faults_network;
mod faults_process;
#[cfg(target_os = "linux")]
mod faults_recovery;
#[cfg(target_os = "linux")]
mod faults_streams;
mod followers;
mod followers_faults;
mod functions;
mod hand_over;
mod keys;
mod large_values;
mod lifecycle;
mod metrics;
mod monitor;
mod moving;
mod moving_faults;
mod moving_processes;
mod moving_restarts;
mod new_commands;
mod node_errors;
mod pipeline;
mod pubsub;
mod pubsub_faults;
mod random_input;
mod reads_again;
mod redis_rs;
mod replicas;
mod resources;
mod running_scripts;
mod sentinels;
mod server_commands;
mod server_info;
mod soak;
mod sort;
mod split;
mod tidy;
mod tidy_faults;
mod tls;
mod tls_files;
mod topology;
mod tracking;
mod tracking_cache;
mod tracking_faults;
mod tracking_redirect;
mod traffic;
mod transaction_faults;
mod transactions;
mod twemproxy;
mod unix_sockets;
