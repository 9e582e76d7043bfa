//! Valid requests for every row that names keys: hard keys, all options in many orders, the same in every run.

use ringway_proxy::command::{Command, Keys, NumKeysRule};

/// The arguments of one request.
pub(crate) type Parts = Vec<Vec<u8>>;

/// Keys that are hard to get right: tags, empty, binary, line breaks, words that are options elsewhere.
const KEYS: [&[u8]; 12] =
    [b"k", b"{}", b"{}{a}", b"{{a}}", b"", b"\0", b"\xff\xfe", b"a\r\nb", b"streams", b"STORE", b"0", b"-1"];

pub(crate) fn parts(text: &str) -> Parts {
    text.split(' ').map(|part| part.as_bytes().to_vec()).collect()
}

pub(crate) fn name_of(row: &Command) -> Parts {
    row.full_name.split('|').map(|name| name.as_bytes().to_vec()).collect()
}

fn number(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A small generator of numbers, the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn key(&mut self) -> Vec<u8> {
        KEYS[self.below(KEYS.len())].to_vec()
    }

    pub(crate) fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// Valid argument vectors of one row.
pub(crate) fn requests_for(row: &Command, random: &mut Random) -> Vec<Parts> {
    match row.keys {
        Keys::NumKeys { at, destination, rule } => counted(row, at, destination, rule, random),
        Keys::Streams { .. } => (0..200).map(|_| streams(row, random)).collect(),
        Keys::Sort { store } => (0..200).map(|_| sort(row, store, random)).collect(),
        Keys::GeoRadius { options } => (0..200).map(|_| georadius(row, options, random)).collect(),
        Keys::Migrate => (0..200).map(|_| migrate(row, random)).collect(),
        _ => fixed(row, random),
    }
}

/// Requests whose options decide what happens to the key.
const OPTIONAL_USES: [&str; 9] = [
    "set k get",
    "set k v get",
    "set k v EX 10 GeT",
    "set k v nx",
    "bitfield k",
    "bitfield k get u8 0",
    "bitfield k GET u8 0 get u4 3",
    "bitfield k get u8 0 set u8 0 1",
    "bitfield k overflow sat incrby u8 0 1",
];

/// From the least number of arguments to a few more, all of them hard keys.
fn fixed(row: &Command, random: &mut Random) -> Vec<Parts> {
    let least = usize::from(row.arity.unsigned_abs());
    let most = if row.arity < 0 { least + 5 } else { least };
    let lengths = (least..=most).flat_map(|len| std::iter::repeat_n(len, 4));
    let with_options = OPTIONAL_USES.iter().filter(|text| text.split(' ').next() == Some(row.name));
    let mut requests: Vec<Parts> = with_options.map(|text| parts(text)).collect();
    for len in lengths {
        let mut request = name_of(row);
        while request.len() < len {
            request.push(random.key());
        }
        let is_paired = !matches!(row.keys, Keys::Range { step: 2, .. }) || len % 2 == 1;
        // GETKEYS refuses the destination alone, which PFMERGE accepts when it runs
        let is_accepted = row.name != "pfmerge" || len > 2;
        if is_paired && is_accepted {
            requests.push(request);
        }
    }
    requests
}

fn counted(
    row: &Command,
    at: usize,
    destination: bool,
    rule: NumKeysRule,
    random: &mut Random,
) -> Vec<Parts> {
    let least = if rule == NumKeysRule::Script { 0 } else { 1 };
    let mut requests = Vec::new();
    for count in least..least + 6 {
        for more in 0..4 {
            let mut request = name_of(row);
            if destination {
                request.push(random.key());
            }
            request.resize(at, b"1".to_vec());
            request.push(number(count));
            (0..count + more).for_each(|_| request.push(random.key()));
            if row.accepts(request.len()) {
                requests.push(request);
            }
        }
    }
    requests
}

fn streams(row: &Command, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    if row.name == "xreadgroup" {
        request.extend(parts(random.of(&["GROUP g c", "group streams c", "Group count block"])));
    }
    for _ in 0..random.below(4) {
        let options = ["COUNT 3", "block 0", "Block 5", "count 1", "NOACK"];
        let allowed = if row.name == "xreadgroup" { &options[..] } else { &options[..4] };
        request.extend(parts(random.of(allowed)));
    }
    request.extend(parts(random.of(&["STREAMS", "streams", "StReAmS"])));
    let count = 1 + random.below(4);
    (0..count).for_each(|_| request.push(random.key()));
    (0..count).for_each(|_| request.extend(parts(random.of(&["0", "$", "1-1"]))));
    request
}

/// Values are never option words: see `options_are_read_as_the_command_reads_them`.
fn sort(row: &Command, store: bool, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.push(random.key());
    for _ in 0..random.below(6) {
        let options =
            ["ASC", "desc", "Alpha", "LIMIT 0 5", "BY nosort", "by store", "GET #", "get x", "STORE"];
        match random.of(&options[..if store { 9 } else { 8 }]) {
            "STORE" => {
                request.extend(parts(random.of(&["STORE", "store", "Store"])));
                request.extend(parts(random.of(&["d", "{}", "{a}b", "\0\r\n"])));
            }
            option => request.extend(parts(option)),
        }
    }
    request
}

fn georadius(row: &Command, options: usize, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.push(random.key());
    request.resize(options - 1, b"1".to_vec());
    request.push(b"km".to_vec());
    let words = ["WITHCOORD", "WITHDIST", "COUNT 3", "count 1 any", "ASC"];
    let stores: [&[&str]; 5] =
        [&[], &["STORE d"], &["storedist e"], &["Store {}", "StoreDist {a}"], &["STOREDIST d", "STORE e"]];
    let mut options: Vec<&str> = stores[random.below(5)].to_vec();
    for _ in 0..random.below(4) {
        options.insert(random.below(options.len() + 1), random.of(&words));
    }
    options.iter().for_each(|option| request.extend(parts(option)));
    request
}

fn migrate(row: &Command, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.extend(parts("127.0.0.1 1"));
    let many = random.below(2) == 0;
    request.push(if many { Vec::new() } else { b"k".to_vec() });
    request.extend(parts("0 10"));
    let options = ["COPY", "replace", "AUTH keys", "auth p", "AUTH2 keys keys", "auth2 u p"];
    (0..random.below(3)).for_each(|_| request.extend(parts(random.of(&options))));
    if many {
        request.push(b"Keys".to_vec());
        (0..1 + random.below(4)).for_each(|_| request.push(random.key()));
    }
    request
}
