use super::*;
use crate::settings::{NodeSpec, TopologySpec};
use ringway_ring::RingConfig;

fn wanted(names: &[&str]) -> Wanted {
    Wanted::of(names.iter().map(|name| name.as_bytes()))
}

/// The page over nodes `a`, `b`, …, each of which said these lines or nothing.
fn page(names: &[&str], replies: &[Option<&str>]) -> String {
    let nodes = ["a", "b", "c"].iter().take(replies.len());
    let nodes = nodes.map(|name| NodeSpec::new(*name, format!("{name}:1"))).collect();
    let topology = Topology::build(7, TopologySpec { ring: RingConfig::default(), nodes }).unwrap();
    let own = vec![(Section::Persistence, "loading:0".to_owned())];
    let page = Page { protocol: Protocol::Resp2, wanted: wanted(names), own };
    let replies: Vec<Option<Vec<u8>>> = replies
        .iter()
        .map(|reply| {
            reply.map(|text| {
                let mut out = Vec::new();
                match text.strip_prefix('-') {
                    Some(text) => encode::error(&mut out, text),
                    None => encode::bulk(&mut out, text.as_bytes()),
                }
                out
            })
        })
        .collect();
    let mut out = Vec::new();
    join(&mut out, &page, &topology, replies.iter().map(Option::as_deref));
    String::from_utf8(pieces::text(&out).unwrap().to_vec()).unwrap()
}

#[test]
fn sections_are_read_as_redis_reads_them() {
    let usual = wanted(&[]);
    assert!(usual.has(Section::Memory) && usual.has(Section::Nodes) && !usual.has(Section::CommandStats));
    assert_eq!(wanted(&["DEFAULT"]), usual);
    assert_eq!(wanted(&["all"]), wanted(&["Everything", "nosuch"]));
    assert!(wanted(&["ALL"]).has(Section::LatencyStats));
    let two = wanted(&["sErVeR", "cpu"]);
    assert!(two.has(Section::Server) && two.has(Section::Cpu) && !two.has(Section::Memory));
    assert_eq!(wanted(&["nosuch"]), Wanted(0));
    assert!(!wanted(&["server", "clients", "replication", "cluster"]).asks_nodes() && two.asks_nodes());
    assert!(
        wanted(&["commandstats"]).request().ends_with(b"all\r\n") && !usual.request().ends_with(b"all\r\n")
    );
}

#[test]
fn what_can_be_added_up_is_and_the_rest_takes_its_own_rule() {
    let one = "used_memory:1048576\r\nused_memory_rss:3145728\r\nused_memory_peak:9\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\nlazyfreed_objects:5";
    let two = "used_memory:1048576\r\nused_memory_rss:1048576\r\nused_memory_peak:9\r\nmaxmemory:50\r\nmaxmemory_policy:noeviction";
    assert_eq!(
        page(&["memory"], &[Some(one), Some(two)]),
        "# Memory\r\nused_memory:2097152\r\nused_memory_human:2.00M\r\nused_memory_rss:4194304\r\n\
         used_memory_rss_human:4.00M\r\nmaxmemory:150\r\nmaxmemory_human:150B\r\n\
         maxmemory_policy:noeviction\r\nmem_fragmentation_ratio:2.00\r\n",
        "peaks are no sum, and what one node does not tell is not known"
    );
    let none = "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nactive_defrag_running:x";
    assert_eq!(
        page(&["memory"], &[Some(one), Some(none)]),
        "# Memory\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\n",
        "one without a limit is no limit, and two policies are none"
    );
    let persistence = |time: i32, status: &str| {
        format!(
            "rdb_last_save_time:{time}\r\nrdb_last_bgsave_status:{status}\r\nrdb_bgsave_in_progress:{}",
            time % 2
        )
    };
    assert_eq!(
        page(&["persistence"], &[Some(&persistence(7, "ok")), Some(&persistence(6, "err"))]),
        "# Persistence\r\nloading:0\r\nrdb_bgsave_in_progress:1\r\nrdb_last_save_time:6\r\nrdb_last_bgsave_status:err\r\n"
    );
    assert_eq!(
        page(&["cpu"], &[Some("used_cpu_sys:0.250000"), Some("used_cpu_sys:1.500000")]),
        "# CPU\r\nused_cpu_sys:1.750000\r\n"
    );
}

#[test]
fn counts_per_command_error_and_database_are_added_up() {
    let one = "cmdstat_get:calls=2,usec=5,usec_per_call=2.50,rejected_calls=0,failed_calls=1\r\nerrorstat_ERR:count=2\r\ndb0:keys=4,expires=1,avg_ttl=100";
    let two = "cmdstat_set:calls=1,usec=8,usec_per_call=8.00,rejected_calls=0,failed_calls=0\r\ncmdstat_get:calls=2,usec=4,usec_per_call=2.00,rejected_calls=3,failed_calls=0\r\nerrorstat_ERR:count=1\r\nerrorstat_OOM:count=1\r\ndb3:keys=1,expires=0,avg_ttl=0\r\ndb0:keys=6,expires=3,avg_ttl=500,subexpiry=0\r\ndb_x:1";
    assert_eq!(
        page(&["keyspace", "errorstats", "commandstats"], &[Some(one), Some(two)]),
        "# Commandstats\r\n\
         cmdstat_get:calls=4,usec=9,usec_per_call=2.25,rejected_calls=3,failed_calls=1\r\n\
         cmdstat_set:calls=1,usec=8,usec_per_call=8.00,rejected_calls=0,failed_calls=0\r\n\r\n\
         # Errorstats\r\nerrorstat_ERR:count=3\r\nerrorstat_OOM:count=1\r\n\r\n\
         # Keyspace\r\ndb0:keys=10,expires=4,avg_ttl=400\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n"
    );
    let both = page(
        &["modules"],
        &[Some("module:name=x,ver=1\r\nmodule:name=y,ver=1"), Some("module:name=x,ver=1")],
    );
    assert_eq!(both, "# Modules\r\nmodule:name=x,ver=1\r\n");
}

#[test]
fn nodes_without_an_answer_are_named_where_they_are_missing() {
    let one = "redis_version:7.0.15\r\nused_memory:5\r\ndb0:keys=4,expires=0,avg_ttl=0\r\ndb1:keys=2,expires=0,avg_ttl=0";
    let page = page(&["keyspace", "nodes", "server"], &[Some(one), None, Some("-NOPERM this user x\r\n")]);
    let (before, nodes) = page.split_once("# Nodes\r\n").unwrap();
    assert_eq!(
        before,
        "# Server\r\n\r\n# Keyspace\r\nringway_missing_nodes:b,c\r\ndb0:keys=4,expires=0,avg_ttl=0\r\ndb1:keys=2,expires=0,avg_ttl=0\r\n\r\n"
    );
    let lines: Vec<&str> = nodes.lines().collect();
    assert_eq!(lines[..2], ["ringway_missing_nodes:b,c", "topology_epoch:7"]);
    assert!(lines[2].starts_with("node0:name=a,address=a:1,state=up,share_percent="), "{}", lines[2]);
    assert!(lines[2].ends_with(",used_memory=5,keys=6,version=7.0.15"), "{}", lines[2]);
    assert!(
        lines[3].contains("name=b,address=b:1,state=down,") && !lines[3].contains("keys="),
        "{}",
        lines[3]
    );
    assert!(lines[4].contains("state=up,") && lines[4].ends_with(",error=NOPERM"), "{}", lines[4]);
}

#[test]
fn sums_beyond_all_bounds_are_left_out() {
    let most = format!("used_memory:{}\r\nused_memory_startup:1", i64::MAX);
    assert_eq!(page(&["memory"], &[Some(&most), Some(&most)]), "# Memory\r\nused_memory_startup:2\r\n");
    let keys = format!("db0:keys={0},expires=0,avg_ttl=0\r\ndb1:keys={0},expires=0,avg_ttl=0", u64::MAX);
    assert!(page(&["nodes"], &[Some(&keys)]).contains(&format!(",keys={},", u64::MAX)));
    assert_eq!(shown("a,b=c%"), "a%2Cb%3Dc%25");
    assert_eq!((human(1023), human(1536), human(3 << 40)), ("1023B".into(), "1.50K".into(), "3.00T".into()));
}
