//! The built binary and its nodes, with what the kernel tells of the process. A test process also holds what the tests
//! hold, so that memory and descriptors are measured here.

use super::program::{Files, Program};
use super::{RawClient, RedisServer, wait_for};

/// One mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// The built binary with two workers and its nodes.
pub(crate) struct Rig {
    /// First, so that it ends before its nodes.
    pub(crate) program: Program,
    /// The nodes.
    pub(crate) servers: Vec<RedisServer>,
    _files: Files,
}

impl Rig {
    /// So many nodes, further lines of configuration, and a program that starts the binary. The proxy waits long for its
    /// nodes.
    pub(crate) fn start(nodes: usize, more: &str, wrapper: &[&str]) -> Self {
        let servers = (0..nodes).map(|_| RedisServer::start()).collect();
        Self::on(servers, &format!("timeouts: {{connect: 5s, operation: 10s}}\n{more}"), wrapper)
    }

    /// So many nodes behind a proxy with the product's own timeouts.
    pub(crate) fn hasty(nodes: usize) -> Self {
        Self::on((0..nodes).map(|_| RedisServer::start()).collect(), "", &[])
    }

    /// As [`Rig::start`], in front of servers named `n1`, `n2`, …, with nothing configured but `more`.
    pub(crate) fn on(servers: Vec<RedisServer>, more: &str, wrapper: &[&str]) -> Self {
        let list: String = servers
            .iter()
            .zip(1..)
            .map(|(server, n)| format!("  - {{name: n{n}, address: '{}'}}\n", server.address()))
            .collect();
        let text = format!(
            "listen: 127.0.0.1:0\nthreads: 2\nadmin: {{listen: '127.0.0.1:0'}}\n{more}nodes:\n{list}"
        );
        let files = Files::new(&[("ringway.yaml", &text)]);
        let config = files.arg("ringway.yaml");
        let program = Program::start_in(wrapper, &["serve", "--config", &config]);
        let rig = Self { program, servers, _files: files };
        // a few clients at once, so that every worker has its connections before anything is measured
        let mut clients: Vec<RawClient> = (0..4).map(|_| rig.program.client()).collect();
        wait_for("the nodes", || {
            clients
                .iter_mut()
                .all(|client| (0..20).all(|n| client.call(&["DEL", &format!("warm:{n}")]).starts_with(b":")))
        });
        rig
    }

    /// A key that node `n1`, `n2`, … owns.
    pub(crate) fn key_of(&self, node: usize) -> String {
        let (http, name) = (self.program.http(), format!("n{node}"));
        let owned = |key: &String| http.get(&format!("/v1/route?key={key}")).ok()["node"] == name.as_str();
        (0..).map(|n| format!("key:{n}")).find(owned).expect("every node owns keys")
    }

    /// Server `n1`, `n2`, …
    pub(crate) fn server(&mut self, node: usize) -> &mut RedisServer {
        &mut self.servers[node - 1]
    }

    /// Resident bytes of the proxy.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Most resident bytes that the proxy ever had.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.program.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// A figure of the proxy, the sum of all lines whose name and labels begin so.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.program.http().get("/metrics").text;
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Connects to all nodes so far, those that failed included.
    pub(crate) fn connects(&self) -> f64 {
        let stats = self.program.http().get("/v1/stats").ok();
        let nodes = stats["nodes"].as_array().expect("nodes");
        nodes.iter().map(|node| node["connects"].as_f64().expect("a number")).sum()
    }

    /// Open descriptors of the proxy.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.program.pid())).expect("it runs").count()
    }

    /// Processor time of the proxy so far, in clock ticks.
    pub(crate) fn ticks(&self) -> u64 {
        ticks_of(self.program.pid())
    }

    /// Asserts that resident memory has grown by no more than `most` bytes since `before`.
    pub(crate) fn grew_at_most(&self, before: u64, most: u64, what: &str) {
        let grown = self.memory().saturating_sub(before);
        assert!(grown <= most, "{what}: {} MiB more, at most {} MiB allowed", grown / MIB, most / MIB);
    }
}

/// Processor time of a process so far, in clock ticks.
pub(crate) fn ticks_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Raises this process's limit of open files as far as it may; answers what it is then.
pub(crate) fn raise_descriptors(wanted: u64) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < possible) {
        let raised = Rlimit { current: Some(possible), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("within the hard limit");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(wanted).try_into().expect("a small number")
}
