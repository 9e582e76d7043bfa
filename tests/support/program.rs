//! The built binary as a process: what it prints, where it listens, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::folder;
use super::harness::wait_for;
use super::http::Http;
use super::raw_client::RawClient;

/// The binary with these arguments, without anything from the caller's environment that changes it.
pub(crate) fn ringway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    ringway(args).output().expect("the binary runs")
}

/// Standard output of a run that must succeed.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// A directory with files in it.
pub(crate) struct Files(TempDir);

impl Files {
    /// Writes the named files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(folder());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    /// Writes one file, new or again.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// Where a file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// A `ringway serve` or `ringway dev` that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    printed: Arc<Mutex<String>>,
    logged: Arc<Mutex<String>>,
}

impl Program {
    /// `ringway serve --config FILE`.
    pub(crate) fn serve(config: &Path) -> Self {
        Self::start(&["serve", "--config", &config.display().to_string()])
    }

    /// Starts and waits until it says where clients connect.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(&[], args)
    }

    /// As [`Program::start`], run by another program that replaces itself with its arguments.
    pub(crate) fn start_in(wrapper: &[&str], args: &[&str]) -> Self {
        let command = match wrapper.split_first() {
            None => ringway(args),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(env!("CARGO_BIN_EXE_ringway")).args(args).env_remove("RUST_LOG");
                command
            }
        };
        Self::watch(command, true)
    }

    /// Runs a prepared command; without `reads_log` nobody ever reads what it logs.
    pub(crate) fn watch(mut command: Command, reads_log: bool) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::start_command(command, reads_log)
    }

    /// As [`Program::watch`], for a command with surroundings of its own. What it prints is looked for among what it logs
    /// when its standard output is no pipe.
    pub(crate) fn start_command(mut command: Command, reads_log: bool) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary");
        // otherwise the pipe stays open, and fills
        let logged = if reads_log { collect(child.stderr.take().expect("piped")) } else { Arc::default() };
        let printed = child.stdout.take().map_or_else(|| Arc::clone(&logged), collect);
        let mut program = Self { child, printed, logged };
        wait_for("the banner", || {
            let ended = program.child.try_wait().expect("wait");
            assert!(ended.is_none(), "it ended: {ended:?} {}", program.log());
            program.field("clients").is_some() && program.field("admin").is_some()
        });
        program
    }

    /// Everything printed so far.
    pub(crate) fn text(&self) -> String {
        self.printed.lock().expect("text").clone()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.logged.lock().expect("log").clone()
    }

    /// The word after `name` at the start of a line.
    fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        // whole lines only: the last one may still be on its way
        let (whole, _) = text.rsplit_once('\n')?;
        whole.lines().find_map(|line| Some(line.strip_prefix(name)?.split_whitespace().next()?.to_owned()))
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.field("clients").expect("told").parse().expect("an address")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> RawClient {
        RawClient::connect(self.address())
    }

    /// Its control plane.
    pub(crate) fn http(&self) -> Http {
        let admin = self.field("admin").expect("told");
        Http::new(admin.trim_start_matches("http://").parse().expect("an address"))
    }

    /// Where metrics and health alone are answered.
    pub(crate) fn metrics(&self) -> Http {
        let metrics = self.field("metrics").expect("told");
        let address = metrics.trim_start_matches("http://").trim_end_matches("/metrics");
        Http::new(address.parse().expect("an address"))
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the program to end", || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// Waits until a text was logged.
    pub(crate) fn wait_logged(&self, part: &str) {
        wait_for(&format!("'{part}' in the log"), || self.log().contains(part));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            shared.lock().expect("text").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}
