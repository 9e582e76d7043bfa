//! The binary's commands that look at files and end: check, route, plan, ring, import, and how it refuses.

use crate::support::harness::specs;
use crate::support::program::{Files, run, stdout};
use crate::support::{Harness, RedisServer};

const GOOD: &str = "\
nodes:
  - { name: cache-1, address: '127.0.0.1:7001' }
  - { name: cache-2, address: '127.0.0.1:7002' }
  - { name: cache-3, address: '127.0.0.1:7003', weight: 2 }
";

#[test]
fn check_accepts_a_good_file_and_its_documented_fields() {
    let files = Files::new(&[
        ("good.yaml", GOOD),
        (
            "full.yaml",
            "listen: 127.0.0.1:6380\nthreads: 2\nring: {placement: xxh3, key_hash: null, points: 1024, seed: 0, hash_tag: \"{}\"}\n\
             nodes:\n  - {name: cache-1, address: \"127.0.0.1:7001\", weight: 1, username: null, password: null}\n\
             timeouts: {connect: 500ms, operation: 1s}\nlimits: {clients: 10000}\nmulti_key: emulate\nauth: {password: null}\n\
             admin: {listen: 127.0.0.1:9380, token: null}\ntopology_file: null\n",
        ),
    ]);
    for name in ["good.yaml", "full.yaml"] {
        assert!(!stdout(&["check", "--config", &files.arg(name)]).is_empty());
    }
}

/// What `check` says about a file that it must refuse.
fn refused(text: &str) -> Vec<String> {
    let files = Files::new(&[("bad.yaml", text)]);
    let path = files.arg("bad.yaml");
    let output = run(&["check", "--config", &path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    // file:line: what
    let located = |line: &String| {
        let rest = line.strip_prefix(&format!("{path}:"))?;
        rest.split_once(": ")?.0.parse::<u32>().ok()
    };
    assert!(lines.iter().any(|line| located(line).is_some()), "no file:line in {said}");
    lines
}

#[test]
fn check_tells_every_problem_with_its_line_and_the_mend() {
    let one = refused("nodes:\n  - name: a\n    adress: '127.0.0.1:1'\n");
    assert!(
        one.iter().any(|line| line.contains("bad.yaml:3:")
            && line.contains("adress")
            && line.contains("'address'")),
        "{one:?}"
    );

    let many = refused(
        "lisen: 127.0.0.1:1\nthreads: many\nring:\n  placement: xxh4\n  points: 0\nnodes:\n  - {name: a, address: '127.0.0.1:1', weight: 0}\n  - {name: a, address: '127.0.0.1:2'}\ntimeouts: {operation: soon}\n",
    );
    for part in ["lisen", "threads", "xxh4", "weight", "soon"] {
        assert!(many.iter().any(|line| line.contains(part)), "{part} is missing in {many:#?}");
    }
    for (line, part) in [(1, "lisen"), (2, "threads"), (4, "xxh4"), (9, "soon")] {
        let place = format!("bad.yaml:{line}:");
        assert!(
            many.iter().any(|text| text.contains(&place) && text.contains(part)),
            "{place} {part} in {many:#?}"
        );
    }
}

#[test]
fn check_refuses_what_cannot_be_meant() {
    for (text, part) in [
        ("", "nodes"),
        ("nodes: []\n", "node"),
        ("nodes: 5\n", "nodes"),
        ("nodes:\n  - {name: a}\n", "address"),
        ("nodes:\n  - {name: a, address: nowhere}\n", "address"),
        ("nodes:\n  - {name: 'a b', address: '127.0.0.1:1'}\n", "name"),
        ("nodes:\n  - {name: a, address: '127.0.0.1:1'}\n  - {name: b, address: '127.0.0.1:1'}\n", "address"),
        ("nodes: [{name: a, address: '127.0.0.1:1'}]\nring: {hash_tag: abc}\n", "hash_tag"),
        (
            "nodes: [{name: a, address: '127.0.0.1:1'}]\nring: {placement: ketama, key_hash: sha512}\n",
            "sha512",
        ),
        ("nodes: [{name: a, address: '127.0.0.1:1'}]\nadmin: {listen: '0.0.0.0:9380'}\n", "token"),
        (
            "nodes: [{name: a, address: '127.0.0.1:1'}]\nauth: {password: {env: RINGWAY_TEST_UNSET}}\n",
            "RINGWAY_TEST_UNSET",
        ),
        (
            "nodes: [{name: a, address: '127.0.0.1:1'}]\nauth: {password: {file: /nowhere/at/all}}\n",
            "/nowhere/at/all",
        ),
        (
            "nodes: [{name: a, address: '127.0.0.1:1'}]\nmulti_key: emulated\n",
            "bad.yaml:2: multi_key: 'emulated' is not known; the nearest value is 'emulate' (known: refuse, emulate)",
        ),
        ("nodes: [{name: a, address: '127.0.0.1:1'}]\nnodes: []\n", "nodes"),
        ("nodes:\n\t- {name: a}\n", ""),
        ("nodes: [\n", ""),
        ("\0", ""),
    ] {
        let said = refused(text);
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{text:?} should be refused for {part}: {said:?}"
        );
    }
}

#[test]
fn bad_flags_and_missing_files_end_with_two_and_one_message() {
    for args in [
        vec!["serve", "--config", "/nowhere/ringway.yaml"],
        vec!["check", "--config", "/nowhere/ringway.yaml"],
        vec!["serve", "--confg", "x"],
        vec!["fly"],
        vec!["dev", "--nodes", "0"],
        vec!["route", "--config", "/nowhere/ringway.yaml", "key"],
        vec!["plan", "--from", "/nowhere/a.yaml", "--to", "/nowhere/b.yaml"],
        vec!["import", "/nowhere/nutcracker.yml"],
    ] {
        let output = run(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(!said.is_empty() && output.stdout.is_empty(), "{args:?}");
        assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    }
    for command in ["serve", "check", "dev", "route", "import", "ring", "plan"] {
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("ringway ") && help.to_lowercase().contains("example"), "{command}: {help}");
    }
    assert!(stdout(&["--version"]).starts_with("ringway "));
}

#[test]
fn no_secret_is_printed_anywhere() {
    let text = format!("{GOOD}auth: {{password: hunter2secret}}\nadmin: {{token: hunter2token, lisen: x}}\n");
    let files = Files::new(&[("secret.yaml", &text)]);
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", &files.arg("secret.yaml")]);
        assert_eq!(output.status.code(), Some(2));
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("hunter2"), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn route_prints_a_table_that_agrees_with_a_running_proxy() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let nodes: String = servers
        .iter()
        .zip(1..)
        .map(|(server, n)| format!("  - {{name: cache-{n}, address: '{}'}}\n", server.address()))
        .collect();
    let files = Files::new(&[("ringway.yaml", &format!("nodes:\n{nodes}"))]);
    let harness = Harness::start(ringway_proxy::settings::Settings::new(specs(&servers)));
    let keys = ["user:1001", "{user:7}:cart", "a b", "ключ"];
    let config = files.arg("ringway.yaml");
    let mut args = vec!["route", "--config", &config];
    args.extend(keys);
    let table = stdout(&args);
    assert_eq!(table.lines().count(), keys.len());
    for (line, key) in table.lines().zip(keys) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, hashed, hash, node, address] = columns[..] else { panic!("five columns: {line:?}") };
        assert_eq!(node, harness.owner(key));
        assert_eq!(hash, format!("{:016x}", harness.control().topology().ring().hash(key.as_bytes())));
        assert!(servers.iter().any(|server| server.address() == address), "{line}");
        assert_eq!(hashed == "user:7", key.contains("user:7"), "{line}");
    }
}

#[test]
fn plan_reports_as_the_admin_api_does() {
    let three = GOOD.replace(", weight: 2", "");
    let four = format!("{three}  - {{ name: cache-4, address: '127.0.0.1:7004' }}\n");
    let files = Files::new(&[("a.yaml", &three), ("b.yaml", &four)]);
    let (a, b) = (files.arg("a.yaml"), files.arg("b.yaml"));
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&["plan", "--from", &a, "--to", &b, "--json"])).expect("JSON");
    assert_eq!(report["minimum_percent"], 25.0);
    let moved = report["moved_percent"].as_f64().expect("a number");
    assert!((20.0..30.0).contains(&moved), "{report}");
    assert!(
        report["flows"].as_array().expect("flows").iter().all(|flow| flow["to"] == "cache-4"),
        "{report}"
    );
    assert_eq!(report["nodes"].as_array().expect("nodes").len(), 4);
    let human = stdout(&["plan", "--from", &a, "--to", &b]);
    assert!(human.contains("cache-4") && human.contains('%'), "{human}");
    let same: serde_json::Value =
        serde_json::from_str(&stdout(&["plan", "--from", &a, "--to", &a, "--json"])).expect("JSON");
    assert_eq!((&same["moved_percent"], &same["flows"]), (&serde_json::json!(0.0), &serde_json::json!([])));
}

#[test]
fn ring_draws_a_picture_of_the_ring_and_of_a_change() {
    let files = Files::new(&[("a.yaml", GOOD), ("b.yaml", &GOOD.replace("cache-3", "cache-9"))]);
    let (a, b, svg) = (files.arg("a.yaml"), files.arg("b.yaml"), files.arg("ring.svg"));
    stdout(&["ring", "--config", &a, "--svg", &svg]);
    let picture = std::fs::read_to_string(&svg).expect("a picture");
    assert!(
        picture.trim_start().starts_with('<')
            && picture.contains("<svg")
            && picture.trim_end().ends_with("</svg>")
    );
    for name in ["cache-1", "cache-2", "cache-3"] {
        assert!(picture.contains(name), "{name}");
    }
    stdout(&["ring", "--config", &a, "--to", &b, "--svg", &svg]);
    let change = std::fs::read_to_string(&svg).expect("a picture");
    assert!(change.contains("cache-3") && change.contains("cache-9"), "both sides of the change");
}

const NUTCRACKER: &str = "\
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  hash_tag: \"{}\"
  distribution: ketama
  redis: true
  auto_eject_hosts: false
  timeout: 400
  servers:
   - 127.0.0.1:7601:1 alpha
   - 127.0.0.1:7602:1 beta
   - 127.0.0.1:7603:1 gamma
";

#[test]
fn import_keeps_every_key_where_twemproxy_put_it() {
    let files = Files::new(&[("nutcracker.yml", NUTCRACKER)]);
    let output = run(&["import", &files.arg("nutcracker.yml")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let yaml = String::from_utf8(output.stdout).expect("text");
    files.write("ringway.yaml", &yaml);
    let config = files.arg("ringway.yaml");
    stdout(&["check", "--config", &config]);
    // owners told by twemproxy itself
    let vectors = [
        ("a", "gamma"),
        ("user:1001", "beta"),
        ("user:1002", "beta"),
        ("cart:42", "beta"),
        ("session:9f8e7d6c5b4a", "alpha"),
        ("ключ:1", "beta"),
    ];
    for (key, owner) in vectors {
        let line = stdout(&["route", "--config", &config, key]);
        assert_eq!(line.split('\t').nth(3), Some(owner), "{line}");
    }
    // and the two files place alike as a whole
    let report = stdout(&["plan", "--from", &files.arg("nutcracker.yml"), "--to", &config, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["moved_percent"], 0.0);
}

#[test]
fn import_refuses_what_it_cannot_keep() {
    for (bad, part) in [
        ("hash: fnv1a_64", "hash: unheard_of"),
        ("distribution: ketama", "distribution: random"),
        ("127.0.0.1:7602:1 beta", "nonsense"),
    ]
    .map(|(from, to)| (NUTCRACKER.replace(from, to), to.rsplit(' ').next().expect("a word")))
    {
        let files = Files::new(&[("nutcracker.yml", &bad)]);
        let output = run(&["import", &files.arg("nutcracker.yml")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part) && said.contains("nutcracker.yml:"), "{part}: {said}");
    }
}
