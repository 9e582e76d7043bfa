//! One client of the floor: what it is owed, and one read and one write per wake-up.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::arguments::Tin;

/// What a turn has led to.
pub enum Outcome {
    /// Nothing new to wait for.
    Same,
    /// Other events matter from now on.
    Wants(EventFlags),
    /// The client has left.
    Gone,
}

/// A connected client.
pub struct Connection {
    stream: OwnedFd,
    /// Bytes of replies that the kernel has not taken yet.
    owed: usize,
    /// Where in a reply the next byte lies.
    phase: usize,
    blocked: bool,
}

impl Connection {
    /// Wraps an accepted stream.
    pub fn new(stream: OwnedFd) -> Self {
        Self { stream, owed: 0, phase: 0, blocked: false }
    }

    /// The socket, to change what is waited for.
    pub fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    /// Reads once, writes once.
    pub fn turn(&mut self, flags: EventFlags, buffer: &mut [u8], tin: &Tin) -> Outcome {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && !self.blocked {
            match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Outcome::Gone,
                Ok((read, _)) => self.owed += commands(&buffer[..read]) * tin.reply_len,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Outcome::Gone,
            }
        }
        self.pay(tin)
    }

    fn pay(&mut self, tin: &Tin) -> Outcome {
        while self.owed > 0 {
            let rest = &tin.bytes[self.phase..];
            let chunk = &rest[..rest.len().min(self.owed)];
            match send(&self.stream, chunk, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.owed -= sent;
                    self.phase = (self.phase + sent) % tin.reply_len;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.wait_for(true),
                Err(_) => return Outcome::Gone,
            }
        }
        self.wait_for(false)
    }

    fn wait_for(&mut self, blocked: bool) -> Outcome {
        if std::mem::replace(&mut self.blocked, blocked) == blocked {
            return Outcome::Same;
        }
        Outcome::Wants(if blocked { EventFlags::OUT } else { EventFlags::IN })
    }
}

/// How many commands begin in these bytes.
fn commands(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'*').count()
}
