//! A real redis-server (or valkey-server) for one test: own port, own directory, killed when dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, ToRedisArgs};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports::free_port;
use super::raw_client::RawClient;
use super::tls;

const INSTALL: &str = "neither redis-server nor valkey-server can be started; install one \
    (Debian, Ubuntu: `apt-get install redis-server`; macOS: `brew install redis`)";
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server process. It keeps its port over [`RedisServer::restart`].
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server without persistence and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`RedisServer::start`], with further options (`&["--requirepass", "secret"]`).
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut server = Self {
            child: None,
            port: 0,
            dir: tempfile::tempdir().expect("a temporary directory"),
            options: options.iter().map(ToString::to_string).collect(),
        };
        for _ in 0..10 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("a Redis server did not start: {}", server.log());
    }

    /// Whether it came up; `false` when the port was taken in between.
    fn launch(&mut self) -> bool {
        let log = File::create(self.log_path()).expect("a log file");
        let mut command = Command::new(program());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]);
        if let Some(everywhere) = &*tls::EVERYWHERE {
            let mut ports = everywhere.ports.lock().expect("ports");
            let port = *ports.entry(self.port).or_insert_with(free_port);
            command.args(everywhere.authority.server_options(port, &["127.0.0.1"]));
        }
        command.args(["--enable-debug-command", "local"]).args(&self.options);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{INSTALL} ({error})")));
        let limit = Instant::now() + START_LIMIT;
        while Instant::now() < limit {
            if self.child.as_mut().is_some_and(|child| child.try_wait().expect("wait").is_some()) {
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("a Redis server did not answer within {START_LIMIT:?}: {}", self.log());
    }

    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect_timeout(&self.socket_addr(), Duration::from_millis(200)) else {
            return false;
        };
        // with a password set the answer is an error, which is an answer too
        RawClient::from(stream).try_call(&["PING"], Duration::from_secs(1)).is_ok()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.socket_addr().to_string()
    }

    fn socket_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A raw connection past the proxy.
    pub(crate) fn client(&self) -> RawClient {
        RawClient::connect(self.socket_addr())
    }

    /// A redis-rs connection past the proxy.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.address())).expect("a URL");
        client.get_connection().expect("a connection to the server")
    }

    /// One command past the proxy, its reply converted by redis-rs.
    pub(crate) fn call<T: FromRedisValue>(&self, args: &[impl ToRedisArgs]) -> T {
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg);
        }
        command.query(&mut self.connection()).expect("the server answers")
    }

    /// As [`RedisServer::call`]; `None` when the connection ends before the reply, as when a sentinel makes the server a
    /// master and has it end all others.
    pub(crate) fn try_call<T: FromRedisValue>(&self, args: &[impl ToRedisArgs]) -> Option<T> {
        let client = redis::Client::open(format!("redis://{}/", self.address())).expect("a URL");
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg);
        }
        command.query(&mut client.get_connection().ok()?).ok()
    }

    /// Number of keys it holds.
    pub(crate) fn dbsize(&self) -> usize {
        self.call(&["DBSIZE"])
    }

    /// SIGKILL: the process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Starts it again, empty, on the port it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let limit = Instant::now() + START_LIMIT;
        while !self.launch() {
            assert!(Instant::now() < limit, "port {} did not become free: {}", self.port, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGSTOP: connections stay, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT after [`RedisServer::pause`].
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server runs");
        kill_process(Pid::from_child(child), signal).expect("signal");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server's executable, which is a sentinel's as well.
pub(crate) fn program() -> &'static str {
    let runs = |program: &str| {
        let mut version = Command::new(program);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    let found = ["redis-server", "valkey-server"].into_iter().find(|program| runs(program));
    found.unwrap_or_else(|| panic!("{INSTALL}"))
}
