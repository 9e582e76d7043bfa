//! What several tests need: reading the tables in `testdata/`.

/// The rows of a table but the first, which holds the names of its columns.
pub(crate) fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split('\t').collect())
}

/// The bytes of a key: those outside 33 to 126, and `\`, are written as `\xHH`.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once("\\x") {
        bytes.extend(plain.as_bytes());
        bytes.push(u8::from_str_radix(&escape[..2], 16).expect("two hex digits"));
        rest = &escape[2..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}
