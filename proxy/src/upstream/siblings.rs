//! The connections of a worker to one node, as each of them knows the others: what one has to say, all say.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::exchange::ReplyTo;
use super::link::{Link, State};

/// All shared connections of a worker to one node.
pub(super) type Siblings<T> = Rc<RefCell<Vec<Weak<Link<T>>>>>;

/// Has the node close a connection that was given up, before it runs what is sent from now on: each shared connection that
/// takes commands says so, if `concerned`. The others do when they greet; those that are one client's alone, of which there
/// may be thousands, ahead of their next command.
pub(super) fn fence<T: ReplyTo + 'static>(
    siblings: &Siblings<T>,
    words: &[String],
    concerned: impl Fn(&Rc<Link<T>>) -> bool,
) {
    let links: Vec<_> = siblings.borrow().iter().filter_map(Weak::upgrade).collect();
    links
        .iter()
        .filter(|link| link.tracker.is_none() && link.state.get() != State::Down && concerned(link))
        .for_each(|link| link.fence(words));
}
