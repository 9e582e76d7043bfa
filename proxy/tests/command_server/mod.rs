//! A real redis-server on a free port and a tiny blocking RESP client, for the tests of the command table.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod generate;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ringway_proxy::command::{self, Route};
use ringway_proxy::resp::{Args, Protocol, Span, encode};

/// The server; killed and waited for when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts redis-server, or valkey-server when there is none; panics with what to do when neither can run.
    pub(crate) fn start() -> Self {
        for _ in 0..20 {
            if let Some(server) = Self::try_start() {
                return server;
            }
        }
        panic!("no redis-server came up; install one: `apt-get install redis-server`, or put it on the PATH");
    }

    fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).ok()?.port();
        let spawn = |program: &str| {
            let options = [
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "local",
            ];
            let mut command = Command::new(program);
            command.args(["--port", &port.to_string()]).args(options);
            command.current_dir(std::env::temp_dir()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let child = spawn("redis-server").or_else(|_| spawn("valkey-server"));
        let child = child.expect("redis-server is missing; install it: `apt-get install redis-server`");
        let mut server = Server { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            if server.child.try_wait().ok()?.is_some() {
                return None; // the port was taken in between
            }
            sleep(Duration::from_millis(25));
        }
        None
    }

    /// A new RESP2 connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::to(([127, 0, 0, 1], self.port).into())
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection, one command at a time.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// A new RESP2 connection to any server.
    pub(crate) fn to(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        Connection { reader: BufReader::new(socket) }
    }

    /// Sends commands in one write and reads their replies.
    pub(crate) fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Value> {
        let frames: Vec<u8> = commands.iter().flat_map(|command| Request::new(command).frame).collect();
        self.reader.get_mut().write_all(&frames).expect("write");
        commands.iter().map(|_| Value::read(&mut self.reader)).collect()
    }

    /// Sends one command and reads its reply.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let mut frame = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            frame.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
            frame.extend_from_slice(arg.as_ref());
            frame.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&frame).expect("write to redis-server");
        Value::read(&mut self.reader)
    }

    /// Changes to RESP3.
    pub(crate) fn resp3(mut self) -> Self {
        assert!(matches!(self.call(&["HELLO", "3"]), Value::Map(_)));
        self
    }

    /// Whether the server is Redis 7.0, against which every fact is compared; other versions only for what they share.
    pub(crate) fn is_redis_7_0(&mut self) -> bool {
        let info = self.call(&["INFO", "server"]);
        let is_7_0 = info.text().lines().any(|line| line.starts_with("redis_version:7.0."));
        if !is_7_0 {
            println!("this server is not Redis 7.0: only what all versions share is compared");
        }
        is_7_0
    }
}

/// A reply. Simple and bulk strings are told apart, arrays and sets too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Nil,
    Integer(i64),
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("nil"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Simple(bytes) => write!(f, "+{}", bytes.escape_ascii()),
            Value::Error(bytes) => write!(f, "-{}", bytes.escape_ascii()),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Array(values) => f.debug_list().entries(values).finish(),
            Value::Set(values) => f.debug_set().entries(values).finish(),
            Value::Map(pairs) => {
                f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish()
            }
        }
    }
}

impl Value {
    /// Reads one reply; panics when it is none.
    pub(crate) fn read(reader: &mut impl BufRead) -> Value {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).expect("a reply");
        assert!(line.ends_with(b"\r\n") && line.len() >= 3, "a whole line, not {line:?}");
        line.truncate(line.len() - 2);
        let rest = line.split_off(1);
        let number = || -> i64 { String::from_utf8_lossy(&rest).parse().expect("a number") };
        let mut many = |count: i64| (0..count).map(|_| Value::read(reader)).collect::<Vec<_>>();
        match line[0] {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Integer(number()),
            b'_' => Value::Nil,
            b'*' | b'$' if number() < 0 => Value::Nil,
            b'*' => Value::Array(many(number())),
            b'~' => Value::Set(many(number())),
            b'%' => {
                let flat = many(2 * number());
                Value::Map(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            b'$' | b'=' => {
                let mut bytes = vec![0; number() as usize + 2];
                reader.read_exact(&mut bytes).expect("a whole string");
                assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                Value::Bulk(bytes)
            }
            kind => panic!("unknown reply type {:?}", kind as char),
        }
    }

    /// Reads exactly one reply from these bytes.
    pub(crate) fn parse(mut bytes: &[u8]) -> Value {
        let value = Value::read(&mut bytes);
        assert!(bytes.is_empty(), "bytes behind the reply");
        value
    }

    /// The text of a string or error.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Simple(bytes) | Value::Error(bytes) | Value::Bulk(bytes) => {
                String::from_utf8_lossy(bytes).into()
            }
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The elements of an array or set.
    pub(crate) fn elements(&self) -> &[Value] {
        match self {
            Value::Array(values) | Value::Set(values) => values,
            other => panic!("not a list: {other:?}"),
        }
    }

    /// The value of this name in a map, or in an array that stands for one.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(pairs) => pairs.iter().find(|(key, _)| key.text() == name).map(|(_, value)| value),
            other => other.elements().chunks(2).find(|pair| pair[0].text() == name).map(|pair| &pair[1]),
        }
    }
}

/// A request as the proxy sees it.
pub(crate) struct Request {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Request {
    pub(crate) fn new<A: AsRef<[u8]>>(parts: &[A]) -> Self {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        encode::array(&mut frame, parts.len());
        for part in parts {
            encode::bulk(&mut frame, part.as_ref());
            let end = frame.len() as u32 - 2;
            spans.push(Span { start: end - part.as_ref().len() as u32, end });
        }
        Self { frame, spans }
    }

    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }

    /// What Ringway answers when the request is one that the table describes.
    pub(crate) fn described(&self, protocol: Protocol) -> Value {
        let mut out = Vec::new();
        match command::resolve(&self.args()) {
            Ok(row) => {
                let Route::Local(local) = row.route else { panic!("{} is not local", row.full_name) };
                assert!(local.is_described(), "{local:?}");
                command::describe(local, &self.args(), protocol, &[], &|_| false, &mut out);
            }
            Err(error) => error.write_reply(&mut out),
        }
        Value::parse(&out)
    }
}

/// Whether a command came after Redis 7.0.
pub(crate) fn is_newer_than_7_0(since: &str) -> bool {
    let mut parts = since.split('.').map(|part| part.parse::<u16>().expect("a version"));
    (parts.next(), parts.next()) > (Some(7), Some(0))
}
