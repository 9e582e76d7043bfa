//! Keeps the topology file of `ringway serve`, and waits for its turn where another process still does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ringway_proxy::control::{Control, KnownFollower};
use ringway_proxy::settings::TopologySpec;
use ringway_proxy::topology::Topology;

use crate::config::Config;
use crate::followers_file;
use crate::outcome::Failure;
use crate::topology_file::{self, Known};
use crate::topology_lock::{Serving, TopologyLock};

/// Why no keys may be moved.
const NOT_ALONE: &str = "another process answers clients by the same topology file (it stands by, or is being stopped): wait \
                         until it has ended";

/// Writes every new topology to the topology file before it takes effect.
pub(crate) struct Keeper {
    path: Option<PathBuf>,
    /// Without one nobody is waited for.
    lock: Option<TopologyLock>,
    /// Taken before the file is read: nobody moves keys by a later one meanwhile.
    serving: Option<Serving>,
    /// Passwords that the configuration file supplies, as it was read last.
    known: Arc<RwLock<Known>>,
    /// The topology that was served first or reloaded last; the one that holds now differs after a change over HTTP.
    pub(crate) base: TopologySpec,
    /// What was wrong with the file when it was looked at last, so that it is told once.
    trouble: String,
    /// Whether the topology is another Ringway's, which says what is kept.
    follows: bool,
    /// Who followed the process before this one.
    followers: Vec<KnownFollower>,
    /// Where the topology is another Ringway's, nobody makes changes of its own to the file.
    _keeps_off: Option<File>,
}

impl Keeper {
    /// Takes the lock of the topology file, if there is one and nobody has it. `configured` is the topology of the
    /// configuration file. The file must be read after this.
    ///
    /// # Errors
    /// Those that follow cannot be read, or the file is another process's.
    pub(crate) fn new(path: Option<&Path>, configured: TopologySpec, follows: bool) -> Result<Self, Failure> {
        // whoever follows makes no changes: all its processes keep the same
        let own = path.filter(|_| !follows);
        let mut keeps_off = None;
        if let Some(path) = path.filter(|_| follows) {
            let path_text = path.display();
            keeps_off = TopologyLock::keep_off(path)
                .map_err(|error| Failure::Run(format!("{path_text}.lock cannot be used: {error}")))?;
            if keeps_off.is_none() {
                return Err(Failure::Usage(format!(
                    "{path_text} is kept by another process, which does not follow: name another topology_file"
                )));
            }
        }
        let lock = own.and_then(|path| match TopologyLock::open(path) {
            Ok(lock) => Some(lock),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, "{path}.lock cannot be used: nobody is kept from writing {path} as well");
                None
            }
        });
        let serving = own.and_then(|path| match Serving::by(path) {
            Ok(serving) => Some(serving),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, "{path}.serving cannot be used: nobody knows how long this process serves by {path}");
                None
            }
        });
        let known = known(&configured, follows);
        let names = own.map(|path| followers_file::read(&followers_file::beside(path))).transpose();
        let followers = names.map_err(Failure::Usage)?.unwrap_or_default();
        Ok(Self {
            path: path.map(Path::to_path_buf),
            lock,
            serving,
            known: Arc::new(RwLock::new(known)),
            base: configured,
            trouble: String::new(),
            follows,
            followers,
            _keeps_off: keeps_off,
        })
    }

    /// Passwords that are not kept, since the configuration file has them.
    pub(crate) fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether another process keeps the file.
    pub(crate) fn stands_by(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| !lock.is_held())
    }

    /// Writes a topology to the file, if there is one.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(crate) fn keep(&self, topology: &Topology) -> Result<(), String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.path.as_ref().map_or(Ok(()), |path| write(path, topology, &known, self.follows))
    }

    /// Keeps what `control` changes; while another process keeps the file, nothing may be changed. Whether one does.
    pub(crate) fn watch(&self, control: &Control) -> bool {
        let Some(path) = self.path.clone() else { return false };
        let stands_by = self.stands_by();
        if stands_by {
            // only those that follow a leader share the lock
            if TopologyLock::keep_off(&path).is_ok_and(|lock| lock.is_some()) {
                tracing::warn!(
                    "{} is used by a Ringway that follows another one: until it is stopped, this one takes no changes",
                    path.display()
                );
            } else {
                tracing::info!(
                    "another process keeps {}: this one follows it and takes no changes",
                    path.display()
                );
            }
            control.hold(Some("another process keeps the topology file; change it there, or stop that one"));
        }
        if let Some(serving) = self.serving.clone() {
            control.allow_moves_if(move || match serving.alone() {
                Ok(Some(alone)) => Ok(Box::new(alone)),
                Ok(None) => Err(NOT_ALONE.to_owned()),
                Err(error) => Err(format!("it is not known who else serves by the topology file: {error}")),
            });
        }
        if !self.follows {
            remember_followers(control, &path, self.followers.clone());
        }
        let (known, follows) = (Arc::clone(&self.known), self.follows);
        control.keep_with(move |topology| {
            write(&path, topology, &known.read().unwrap_or_else(PoisonError::into_inner), follows)
        });
        stands_by
    }

    /// Takes over what the other process wrote, and the file itself as soon as that process lets go of it.
    pub(crate) fn follow(&mut self, control: &Control) {
        let (Some(path), Some(lock)) = (&self.path, &mut self.lock) else { return };
        // first the lock, then the file: what is read with the lock in hand is the last word
        let taken = lock.take();
        let known = self.known();
        let outcome = match (&taken, topology_file::read(path, &known)) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(_), Err(problems)) => Err(problems.to_string()),
            (Ok(_), Ok(None)) => Ok(()),
            (Ok(_), Ok(Some(found))) => control
                .adopt(found.epoch, found.spec, found.origin, &format!("taken over from {}", path.display()))
                .map(|adopted| {
                    if let Some(change) = adopted {
                        self.base = change.to.spec().clone();
                        tracing::info!(epoch = change.to.epoch(), "following {}", path.display());
                    }
                })
                .map_err(|error| error.to_string()),
        };
        let trouble = outcome.err().unwrap_or_default();
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::error!("what another process changed is not taken over: {trouble}");
        }
        self.trouble = trouble;
        if taken.is_ok_and(|taken| taken) {
            tracing::info!("{} is kept by this process from now on", path.display());
            match followers_file::read(&followers_file::beside(path)) {
                Ok(names) => remember_followers(control, path, names),
                Err(why) => tracing::error!("{why}"),
            }
            control.hold(None);
        }
    }

    /// Lets the next process keep the file. Nothing may be changed here any more.
    pub(crate) fn let_go(&mut self, control: &Control) {
        control.followers().close();
        self.lock = None;
    }

    /// Takes over what a configuration file that was read again supplies.
    pub(crate) fn reloaded(&mut self, config: &Config) {
        let known = known(&config.settings.topology, self.follows);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// Passwords that the configuration file supplies. What a leader has said is kept whole: the file need not have its nodes.
fn known(configured: &TopologySpec, follows: bool) -> Known {
    if follows { Known::new() } else { topology_file::known(&configured.nodes) }
}

/// Writes the topology file. Of several processes that follow and keep the same, none undoes what another one was told later.
fn write(path: &Path, topology: &Topology, known: &Known, follows: bool) -> Result<(), String> {
    let failed = |error| format!("{}.writing cannot be used: {error}", path.display());
    let _alone = follows.then(|| TopologyLock::write(path)).transpose().map_err(failed)?;
    if follows && topology_file::epoch(path).is_some_and(|kept| kept > topology.epoch()) {
        return Ok(());
    }
    topology_file::write(path, topology, known)
}

/// Has those kept that follow, and those counted that followed the process before.
fn remember_followers(control: &Control, topology_file: &Path, known: Vec<KnownFollower>) {
    let path = followers_file::beside(topology_file);
    control.followers().remember(known, move |known| followers_file::write(&path, known));
}
