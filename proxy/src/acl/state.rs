//! What all workers share of it: the users as they are now, where they are kept, and who was refused what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::{DeniedLog, Users};
use crate::settings::{Settings, UserFile};

/// See the head of this file.
pub(crate) struct AccessControl {
    users: ArcSwap<Users>,
    /// Held by whoever makes others of the users: one at a time.
    kept: Mutex<Kept>,
    /// Held by whoever reads or writes the file: what was read last is what holds.
    pub(crate) using_file: tokio::sync::Mutex<()>,
    pub(crate) denied: DeniedLog,
}

/// What the configuration says.
struct Kept {
    /// What was read or written last.
    users: Users,
    /// Whom ACL LOAD and ACL SAVE ask.
    file: Option<Arc<dyn UserFile>>,
}

impl AccessControl {
    pub(crate) fn new(settings: &Settings) -> Self {
        let users = settings.first_users();
        Self {
            users: ArcSwap::from_pointee(users.clone()),
            kept: Mutex::new(Kept { users, file: settings.users_file.clone() }),
            using_file: tokio::sync::Mutex::default(),
            denied: DeniedLog::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users as they are now.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Where they are kept, if anywhere.
    pub(crate) fn file(&self) -> Option<Arc<dyn UserFile>> {
        self.kept().file.clone()
    }

    /// Makes others of them, which nobody keeps. Clients that are here already do not know of it yet: see
    /// `client::users_changed`.
    ///
    /// # Errors
    /// What `change` says; the users stay as they were.
    pub(crate) fn change<E>(&self, change: impl FnOnce(&Users) -> Result<Users, E>) -> Result<(), E> {
        let _one = self.kept();
        let users = change(&self.users.load())?;
        self.users.store(Arc::new(users));
        Ok(())
    }

    /// These were read: they hold, as [`AccessControl::change`] has them hold.
    pub(crate) fn loaded(&self, users: Users) {
        let mut kept = self.kept();
        kept.users = users.clone();
        self.users.store(Arc::new(users));
    }

    /// These were written.
    pub(crate) fn saved(&self, users: Users) {
        self.kept().users = users;
    }

    /// What was read or written last.
    pub(crate) fn last_kept(&self) -> Users {
        self.kept().users.clone()
    }

    /// The configuration was read anew. If it says something else than what was read or written last, that holds; what
    /// clients changed meanwhile stays otherwise.
    pub(crate) fn reload(&self, users: Users, file: Option<Arc<dyn UserFile>>) -> Reloaded {
        let mut kept = self.kept();
        kept.file = file;
        let before = self.users.load_full();
        if kept.users == users {
            return if *before == users { Reloaded::Same } else { Reloaded::Kept };
        }
        let difference = before.difference(&users);
        kept.users = users.clone();
        self.users.store(Arc::new(users));
        Reloaded::Changed(difference)
    }
}

/// What became of the users when the configuration was read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// It says what it said before, and so they are.
    Same,
    /// It says what it said before; they are others, as clients have changed them.
    Kept,
    /// They are those that it says, with the names of those that differ.
    Changed(String),
}
