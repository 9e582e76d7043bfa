//! Other users, while the proxy runs.

use super::Control;
use crate::acl::Reloaded;
use crate::client::users_changed;
use crate::settings::Settings;
use crate::worker::ToWorker;

impl Control {
    /// Whether everybody who connects is let in.
    pub fn lets_everybody_in(&self) -> bool {
        self.shared.access.users().lets_everybody_in()
    }

    /// The section `auth` was read anew: these are the users from now on, if they are others than were read or written last.
    /// Clients keep their connections with the rights that their user has now; whoever is no user any more is closed, and so
    /// is whoever listens to a channel that it may not hear.
    pub fn reload_users(&self, settings: &Settings) -> Reloaded {
        let reloaded = self.shared.access.reload(settings.first_users(), settings.users_file.clone());
        for worker in self.shared.workers.iter().filter(|_| matches!(reloaded, Reloaded::Changed(_))) {
            // a worker that has ended has no clients
            let _ = worker.sender.send(ToWorker::Run(Box::new(|worker| {
                users_changed(worker, None);
            })));
        }
        reloaded
    }
}
