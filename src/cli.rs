//! Flags and subcommands. Names and defaults are the product's face; changing one needs a new name.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The default of `--config`.
const CONFIG: &str = "ringway.yaml";

/// A consistent-hashing proxy for Redis whose ring is planned, changed and undone live.
#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to log: error, warn, info, debug, trace, or a filter such as ringway_proxy=debug.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "RUST_LOG",
        hide_env_values = true,
        default_value = "info"
    )]
    pub(crate) log: String,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One thing that the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy in the foreground; SIGTERM drains it, SIGHUP re-reads the file.
    #[command(
        after_help = "Example:\n  ringway serve --config ringway.yaml\n  kill -HUP PID     applies the nodes and the ring \
        of the changed file\n  kill PID          answers what was read, then ends"
    )]
    Serve(ConfigArgs),
    /// Check a configuration file: exit 0, or 2 with every problem as file:line.
    #[command(
        after_help = "Example:\n  ringway check --config ringway.yaml\n  ringway.yaml:4: unknown field 'adress' in \
        nodes[0]; the nearest known field is 'address' (known: …)"
    )]
    Check(ConfigArgs),
    /// Start local Redis nodes and a proxy in front of them; Ctrl-C stops and cleans up all of it.
    #[command(after_help = "Example:\n  ringway dev --nodes 3\n  redis-cli -p 6380 set greeting hello")]
    Dev(DevArgs),
    /// Say which node owns each key, as TSV: key, hashed part, hash, node, address.
    #[command(
        after_help = "Example:\n  ringway route --config ringway.yaml 'user:1001' '{user:1001}:cart'\n\nBytes that are \
        not printable ASCII, spaces and backslashes are written as \\xHH."
    )]
    Route(RouteArgs),
    /// Turn twemproxy's nutcracker.yml into a ringway.yaml with the same placement (notes on stderr).
    #[command(
        after_help = "Example:\n  ringway import nutcracker.yml --pool beta > ringway.yaml\n  ringway plan --from \
        nutcracker.yml --pool beta --to ringway.yaml     proves that no key moves"
    )]
    Import(ImportArgs),
    /// Draw the ring or a change as SVG, or find the seed that balances a new cluster best.
    #[command(
        after_help = "Example:\n  ringway ring --config ringway.yaml --svg ring.svg\n  ringway ring --config a.yaml --to \
        b.yaml --svg change.svg\n  ringway ring --config ringway.yaml --best-seed 100     for a cluster that is created new"
    )]
    Ring(RingArgs),
    /// Say what a change of configuration would move; nothing is touched.
    #[command(
        after_help = "Example:\n  ringway plan --from ringway.yaml --to ringway-next.yaml\n\nEither side may be \
        twemproxy's nutcracker.yml."
    )]
    Plan(PlanArgs),
    /// Ask a running proxy whether it is well: exit 0 or 1 (for container health checks).
    #[command(after_help = "Example:\n  ringway health --admin 127.0.0.1:9380 --ready")]
    Health(HealthArgs),
    /// One node of `ringway dev`: becomes redis-server, and ends with the process that started it.
    #[command(hide = true)]
    DevNode(DevNodeArgs),
}

/// Only a configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many Redis nodes to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6380")]
    pub(crate) listen: String,
    /// Where operators connect; loopback only, since `dev` sets no token.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9380")]
    pub(crate) admin: String,
}

/// Flags of `route`.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The configuration file (or twemproxy's).
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// The pool of a twemproxy file with several.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// Keys, taken as bytes.
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,
}

/// Flags of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// twemproxy's configuration file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The pool to import, where the file has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

/// Flags of `ring`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["svg", "best_seed"])))]
pub(crate) struct RingArgs {
    /// The configuration file (or twemproxy's).
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// Where to write the picture; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Draw the change from --config to this file.
    #[arg(long, value_name = "FILE", requires = "svg")]
    pub(crate) to: Option<PathBuf>,
    /// Try this many seeds and print the one that balances best. Changing the seed of a cluster in use moves nearly
    /// every key.
    #[arg(long, value_name = "TRIES", conflicts_with = "to", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) best_seed: Option<u64>,
    /// The pool of a twemproxy file with several.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The configuration before.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The configuration after.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// Print the report as JSON, as the admin API does.
    #[arg(long)]
    pub(crate) json: bool,
    /// The pool of a twemproxy file with several.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

/// Flags of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Where the proxy's admin API listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9380")]
    pub(crate) admin: String,
    /// Ask whether it can serve (/readyz), not only whether it runs (/healthz).
    #[arg(long)]
    pub(crate) ready: bool,
}

/// Flags of `dev-node`.
#[derive(Debug, Args)]
pub(crate) struct DevNodeArgs {
    /// The process that started it.
    #[arg(long)]
    pub(crate) parent: u32,
    /// The server and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_public_subcommand_has_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(command.is_hide_set() || help.contains("Example:"), "{}", command.get_name());
        }
    }

    #[test]
    fn lines_of_the_contract_are_accepted() {
        for line in [
            "ringway serve --config ringway.yaml",
            "ringway check --config ringway.yaml",
            "ringway dev",
            "ringway dev --nodes 3 --listen 127.0.0.1:6380 --admin 127.0.0.1:9380",
            "ringway route --config ringway.yaml a b",
            "ringway import nutcracker.yml",
            "ringway ring --config ringway.yaml --svg ring.svg --to b.yaml",
            "ringway ring --config ringway.yaml --best-seed 100",
            "ringway plan --from a.yaml --to b.yaml --json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "ringway",
            "ringway ring",
            "ringway dev --nodes 0",
            "ringway route",
            "ringway plan --from a",
            "ringway fly",
        ] {
            assert_ne!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 0, "{line}");
        }
    }
}
