//! The Redis servers of `ringway dev`: found on PATH, started on free loopback ports, stopped together.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::outcome::Failure;

/// Servers that serve as nodes, the first found wins.
const SERVERS: &[&str] = &["redis-server", "valkey-server"];
/// How long a server may take to answer its first PING.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Another process may take the free port that was found; then another port is tried.
const ATTEMPTS: usize = 3;
/// How long a server may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The first server program on PATH.
///
/// # Errors
/// [`Failure::Usage`] with how to install one.
pub(super) fn find_server() -> Result<PathBuf, Failure> {
    find_in(&std::env::var_os("PATH").unwrap_or_default()).ok_or_else(|| {
        Failure::Usage(
            "no redis-server and no valkey-server on PATH; install one, on Debian or Ubuntu with  sudo apt-get install \
             redis-server  and on macOS with  brew install redis"
                .to_owned(),
        )
    })
}

fn find_in(path: &std::ffi::OsStr) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    SERVERS
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| is_program(file)))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Servers that run, and the directory they start in.
pub(super) struct Nodes {
    server: PathBuf,
    /// Gone once all have started: a `ringway dev` that is killed cannot tidy up, and nothing is kept on disk.
    folder: Option<TempDir>,
    running: Vec<Node>,
}

struct Node {
    number: u16,
    child: Child,
    told: bool,
}

impl Nodes {
    /// None yet.
    ///
    /// # Errors
    /// [`Failure::Run`] when there is no place for temporary files.
    pub(super) fn new(server: PathBuf) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("ringway-dev-")
            .tempdir()
            .map_err(|error| Failure::Run(format!("no temporary directory: {error}")))?;
        Ok(Self { server, folder: Some(folder), running: Vec::new() })
    }

    /// Starts one more and answers its port once it answers commands.
    ///
    /// # Errors
    /// [`Failure::Run`] with what the server logged.
    pub(super) async fn start(&mut self, number: u16) -> Result<u16, Failure> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let mut child = self.spawn(number, port)?;
            match ready(&mut child, port).await {
                Ok(()) => {
                    self.running.push(Node { number, child, told: false });
                    return Ok(port);
                }
                Err(error) => why = error,
            }
            let _ = child.kill().await;
        }
        let log = std::fs::read_to_string(self.log_file(number)).unwrap_or_default();
        let last = log.lines().last().map(|line| format!("; it logged: {line}")).unwrap_or_default();
        Err(Failure::Run(format!(
            "node cache-{number} ({}) does not start: {why}{last}",
            self.server.display()
        )))
    }

    /// Removes the directory; the servers run on without it.
    pub(super) fn started(&mut self) {
        self.folder = None;
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/"), TempDir::path)
    }

    fn log_file(&self, number: u16) -> PathBuf {
        self.folder().join(format!("cache-{number}.log"))
    }

    fn spawn(&self, number: u16, port: u16) -> Result<Child, Failure> {
        // the file itself, also when it was replaced by a new build meanwhile
        let own =
            if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
        let own = own.map_err(|error| Failure::Run(format!("the own program is not found: {error}")))?;
        let mut command = Command::new(own);
        command
            .arg("dev-node")
            .arg("--parent")
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&self.server);
        command.args(server_arguments(port, self.folder(), &self.log_file(number)));
        // Ctrl-C goes to the whole terminal group; nodes must outlive the drain
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null());
        command
            .spawn()
            .map_err(|error| Failure::Run(format!("node cache-{number} cannot be started: {error}")))
    }

    /// Logs each server that has ended by itself, once.
    pub(super) fn tell_ended(&mut self) {
        for node in self.running.iter_mut().filter(|node| !node.told) {
            if let Ok(Some(status)) = node.child.try_wait() {
                node.told = true;
                tracing::warn!("node cache-{} has ended: {status}", node.number);
            }
        }
    }

    /// Ends all servers and waits for them; then the directory goes.
    pub(super) async fn stop(mut self) {
        for node in &mut self.running {
            let pid =
                node.child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        for node in &mut self.running {
            if tokio::time::timeout_at(deadline, node.child.wait()).await.is_err() {
                let _ = node.child.kill().await;
            }
        }
    }
}

/// Nothing is kept: no snapshot, no append-only file, loopback only.
fn server_arguments(port: u16, folder: &Path, log_file: &Path) -> Vec<OsString> {
    let port = port.to_string();
    let mut arguments: Vec<OsString> =
        ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]
            .map(OsString::from)
            .to_vec();
    arguments.extend(["--dir".into(), folder.into(), "--logfile".into(), log_file.into()]);
    arguments
}

fn free_port() -> Result<u16, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::Run(format!("no free port on 127.0.0.1: {error}")))
}

/// Waits for the first answer to PING.
async fn ready(child: &mut Child, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        let asked = tokio::time::timeout(Duration::from_millis(500), ping(port)).await;
        if matches!(asked, Ok(Ok(true))) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("no answer on port {port} within {} s", START_LIMIT.as_secs()))
}

async fn ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+PONG\r\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_programs_on_the_path_are_found() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = std::env::join_paths([one.path(), two.path()]).unwrap();
        assert_eq!(find_in(&path), None);
        std::fs::write(one.path().join("redis-server"), "").unwrap();
        assert_eq!(find_in(&path), None, "not executable");
        let valkey = two.path().join("valkey-server");
        std::fs::write(&valkey, "").unwrap();
        std::fs::set_permissions(&valkey, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in(&path), Some(valkey));
    }

    #[test]
    fn nothing_is_kept_on_disk() {
        let arguments = server_arguments(7001, Path::new("/d"), Path::new("/d/l"));
        let position = arguments.iter().position(|argument| argument == "--save").unwrap();
        assert_eq!(arguments[position + 1], "");
    }
}
