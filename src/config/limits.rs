//! The sections `timeouts` and `limits`: what may be set, within which bounds, and the defaults of the proxy.

use std::time::Duration;

use ringway_proxy::limits::{LINE_BYTES, Limits};
use ringway_proxy::settings::Timeouts;

use super::memory;
use super::reader::{Reader, Section};

/// Fields of `limits`.
const LIMITS: &[&str] = &[
    "clients",
    "pipeline_commands",
    "pipeline_bytes",
    "reply_soft_bytes",
    "reply_hard_bytes",
    "emulate_bytes",
    "reply_stuck",
    "command_bytes",
    "command_incomplete",
    "authentication",
    "drain",
    "drain_idle",
    "databases",
    "dedicated_connections",
    "subscriber_bytes",
    "node_queue_bytes",
    "memory_bytes",
];

/// With less the proxy would be busy closing clients, in bytes.
const LEAST_MEMORY: u64 = 16 << 20;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads `timeouts`.
pub(crate) fn timeouts(reader: &mut Reader, root: &Section<'_>) -> Timeouts {
    let at = reader.inner(root, "timeouts", &["connect", "operation"]);
    let default = Timeouts::default();
    Timeouts {
        connect: reader.duration(&at, "connect", MILLISECOND..=Duration::from_secs(60), default.connect),
        operation: reader.duration(&at, "operation", MILLISECOND..=HOUR, default.operation),
    }
}

/// The defaults on this machine.
pub(crate) fn default() -> Limits {
    let fixed = Limits::default();
    Limits {
        memory_bytes: memory::quarter().unwrap_or(fixed.memory_bytes).max(LEAST_MEMORY as usize),
        ..fixed
    }
}

/// Reads `limits`.
pub(crate) fn limits(reader: &mut Reader, root: &Section<'_>) -> Limits {
    let at = reader.inner(root, "limits", LIMITS);
    let default = default();
    // the smallest buffer must hold the longest line Redis itself accepts
    let sizes = LINE_BYTES as u64..=1 << 40;
    let waits = MILLISECOND..=DAY;
    let limits = Limits {
        clients: number(reader, &at, "clients", default.clients),
        pipeline_commands: number(reader, &at, "pipeline_commands", default.pipeline_commands),
        pipeline_bytes: reader.bytes(&at, "pipeline_bytes", sizes.clone(), default.pipeline_bytes),
        reply_soft_bytes: reader.bytes(&at, "reply_soft_bytes", sizes.clone(), default.reply_soft_bytes),
        reply_hard_bytes: reader.bytes(&at, "reply_hard_bytes", sizes.clone(), default.reply_hard_bytes),
        emulate_bytes: reader.bytes(&at, "emulate_bytes", sizes.clone(), default.emulate_bytes),
        reply_stuck: reader.duration(&at, "reply_stuck", waits.clone(), default.reply_stuck),
        command_bytes: reader.bytes(&at, "command_bytes", sizes.clone(), default.command_bytes),
        command_incomplete: reader.duration(
            &at,
            "command_incomplete",
            waits.clone(),
            default.command_incomplete,
        ),
        authentication: reader.duration(&at, "authentication", waits.clone(), default.authentication),
        drain: reader.duration(&at, "drain", waits.clone(), default.drain),
        drain_idle: reader.duration(&at, "drain_idle", Duration::ZERO..=HOUR, default.drain_idle),
        databases: u32::try_from(number(reader, &at, "databases", default.databases as usize))
            .unwrap_or(default.databases),
        dedicated_connections: number(reader, &at, "dedicated_connections", default.dedicated_connections),
        subscriber_bytes: reader.bytes(&at, "subscriber_bytes", sizes.clone(), default.subscriber_bytes),
        node_queue_bytes: reader.bytes(&at, "node_queue_bytes", sizes, default.node_queue_bytes),
        memory_bytes: reader.bytes(&at, "memory_bytes", LEAST_MEMORY..=1 << 50, default.memory_bytes),
    };
    if limits.reply_soft_bytes > limits.reply_hard_bytes {
        let line = at.line_of("reply_soft_bytes");
        reader
            .problem(line, "limits.reply_soft_bytes is above reply_hard_bytes; lower it or raise the other");
    }
    limits
}

fn number(reader: &mut Reader, at: &Section<'_>, key: &str, default: usize) -> usize {
    usize::try_from(reader.integer(at, key, 1..=1_000_000, default as u64)).unwrap_or(default)
}
