//! `ringway check`: every problem of a configuration file.

use std::time::SystemTime;

use crate::cli::ConfigArgs;
use crate::config::{self, Depth};
use crate::outcome::{Failure, print};

/// Checks the file; says so when it is in order.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let config = config::load(&args.config, Depth::Run)?;
    for warning in config::tls::expiring(&config, SystemTime::now()) {
        eprintln!("{}: warning: {warning}", args.config.display());
    }
    for warning in config.settings.first_users().warnings() {
        eprintln!("{}: warning: {warning}", args.config.display());
    }
    if !config::is_loopback(&config.settings.listen) && config.settings.first_users().lets_everybody_in() {
        let (file, listen) = (args.config.display(), &config.settings.listen);
        eprintln!(
            "{file}: warning: everybody who reaches {listen} is let in; set auth.password or auth.users_file"
        );
    }
    let topology = &config.settings.topology;
    if let Some(follow) = &config.follow {
        return print(&format!("{}: in order, follows {}\n", args.config.display(), follow.url));
    }
    print(&format!(
        "{}: in order, {} nodes, placement {}\n",
        args.config.display(),
        topology.nodes.len(),
        topology.ring.placement
    ))
}
