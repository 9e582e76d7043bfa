//! Who a client has proven to be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acl::{DEFAULT, User, Users};
use crate::limits::{WRONG_PASSWORD_DELAY, WRONG_PASSWORD_LONGEST_DELAY};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Identity {
    /// As users are now.
    user: Option<Arc<User>>,
    /// What follows from it: one look tells that everything is allowed.
    access: Access,
    /// Since when it has not proven to be anyone.
    stranger_since: Option<Instant>,
    /// Wrong passwords since the last right one.
    wrong_passwords: u32,
}

/// How much of a client's commands is looked at before they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// It has not proven to be anyone.
    Stranger,
    /// Its user may not do everything.
    Limited,
    /// Its user may do everything.
    Unlimited,
}

/// What a change of the users means for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// It may do what it could before, or everything.
    Same,
    /// Its user may do other things than before, and not everything.
    Changed,
    /// There is no such user any more.
    Gone,
}

impl Identity {
    /// Of a new connection: the default user if that needs no proof, or nobody.
    pub(super) fn new(users: &Users) -> Self {
        let mut identity =
            Self { user: None, access: Access::Stranger, stranger_since: None, wrong_passwords: 0 };
        identity.log_out(users);
        identity
    }

    fn be(&mut self, user: Option<&Arc<User>>) {
        self.access = match user {
            None => Access::Stranger,
            Some(user) if user.is_unlimited() => Access::Unlimited,
            Some(_) => Access::Limited,
        };
        self.user = user.cloned();
    }

    /// It has proven to be this user, or is it without proof.
    pub(super) fn log_in(&mut self, user: &Arc<User>) {
        self.be(Some(user));
        self.stranger_since = None;
        self.wrong_passwords = 0;
    }

    /// As a new connection is; wrong passwords are not forgotten.
    pub(super) fn log_out(&mut self, users: &Users) {
        self.be(users.at_first());
        self.stranger_since = self.is_stranger().then(Instant::now);
    }

    /// Whether every command is allowed.
    #[inline]
    pub(super) fn may_everything(&self) -> bool {
        self.access == Access::Unlimited
    }

    /// Whether it has not proven to be anyone.
    #[inline]
    pub(super) fn is_stranger(&self) -> bool {
        self.access == Access::Stranger
    }

    /// Since when it has not.
    pub(super) fn stranger_since(&self) -> Option<Instant> {
        self.stranger_since
    }

    /// The user it has proven to be.
    pub(super) fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// The name of its user; strangers are the default user who has not proven it.
    pub(super) fn name(&self) -> &[u8] {
        self.user.as_ref().map_or(DEFAULT, |user| user.name())
    }

    /// Its user is what these say now.
    pub(super) fn follow(&mut self, users: &Users) -> Followed {
        let Some(before) = self.user.take() else {
            if let Some(user) = users.at_first() {
                self.log_in(user);
            }
            return Followed::Same;
        };
        let now = users.get(before.name());
        if now.is_some_and(|now| Arc::ptr_eq(now, &before)) {
            self.user = Some(before);
            return Followed::Same;
        }
        self.be(now);
        match now {
            None => Followed::Gone,
            Some(now) if self.may_everything() || now.has_rights_of(&before) => Followed::Same,
            Some(_) => Followed::Changed,
        }
    }

    /// A password was wrong.
    pub(super) fn was_wrong(&mut self) {
        self.wrong_passwords = self.wrong_passwords.saturating_add(1);
    }

    /// How long nothing is handled because of it: longer with each wrong password since the last right one.
    pub(super) fn penalty(&self) -> Duration {
        let doublings = self.wrong_passwords.saturating_sub(1).min(16);
        (WRONG_PASSWORD_DELAY * (1 << doublings)).min(WRONG_PASSWORD_LONGEST_DELAY)
    }
}
