//! The floor that no proxy can be below: a bare epoll loop that answers every read at once.
//!
//! ```text
//!   epoll_wait ─► recv ─► count the commands ─► send that many canned replies
//! ```
//! Per wake-up of a client one read and one write, no parsing beyond counting, no second hop. What a proxy
//! costs above it is the proxy's own doing, and the price of talking to nodes.
//!
//! A command is counted by its `*`: the keys and values of the workloads hold no other one.

#![forbid(unsafe_code)]

mod arguments;
mod connection;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{self, AddressFamily, SocketType, sockopt};

use arguments::Arguments;
use connection::{Connection, Outcome};

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Connections the kernel queues for `accept`.
const BACKLOG: i32 = 4096;
/// The event data of the listener; connections count from 0.
const LISTENER: u64 = u64::MAX;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("ringway-floor: {why}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let workers: Vec<_> = (0..arguments.threads)
        .map(|_| {
            let arguments = arguments.clone();
            std::thread::spawn(move || serve(&arguments))
        })
        .collect();
    for worker in workers {
        if let Ok(Err(error)) = worker.join() {
            eprintln!("ringway-floor: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Every thread listens for itself; the kernel deals connections out.
fn listen(port: u16) -> io::Result<OwnedFd> {
    let listener = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    sockopt::set_socket_reuseport(&listener, true)?;
    net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let listener = listen(arguments.port)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let tin = arguments.reply.tin();
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                let stream = net::accept(&listener)?;
                sockopt::set_tcp_nodelay(&stream, true)?;
                epoll::add(&poll, &stream, EventData::new_u64(next), EventFlags::IN)?;
                connections.insert(next, Connection::new(stream));
                next += 1;
                continue;
            }
            let Some(connection) = connections.get_mut(&number) else { continue };
            match connection.turn(event.flags, &mut buffer, &tin) {
                Outcome::Same => {}
                Outcome::Wants(interest) => {
                    epoll::modify(&poll, connection.stream(), EventData::new_u64(number), interest)?;
                }
                Outcome::Gone => drop(connections.remove(&number)),
            }
        }
    }
}
