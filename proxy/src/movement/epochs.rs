//! Which topologies commands belong to that run on connections of their own: who moves keys waits for those of earlier
//! ones. Commands on shared connections are found there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many commands run by each topology; one for each worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epochs(Rc<RefCell<BTreeMap<u64, usize>>>);

impl Epochs {
    /// A command begins by the topology of `epoch`.
    pub(crate) fn begin(&self, epoch: u64) -> Begun {
        *self.0.borrow_mut().entry(epoch).or_default() += 1;
        Begun { epochs: self.clone(), epoch }
    }

    /// Whether a command runs by a topology before that of `epoch`.
    pub(crate) fn runs_before(&self, epoch: u64) -> bool {
        self.0.borrow().range(..epoch).next().is_some()
    }
}

/// A command that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Begun {
    epochs: Epochs,
    epoch: u64,
}

impl Begun {
    /// It holds by the topology of `epoch` as well.
    pub(crate) fn go_over_to(&mut self, epoch: u64) {
        if epoch != self.epoch {
            *self = self.epochs.begin(epoch);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut epochs = self.epochs.0.borrow_mut();
        if let Some(count) = epochs.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                epochs.remove(&self.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_until_it_ends_or_goes_over() {
        let epochs = Epochs::default();
        let (mut first, second) = (epochs.begin(1), epochs.begin(2));
        assert!(epochs.runs_before(2) && !epochs.runs_before(1));
        first.go_over_to(2);
        assert!(!epochs.runs_before(2) && epochs.runs_before(3));
        drop(second);
        assert!(epochs.runs_before(3));
        drop(first);
        assert!(!epochs.runs_before(u64::MAX));
    }
}
