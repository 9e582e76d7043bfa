//! Reading the tables in `testdata/`: tab-separated, the first row names the columns.

/// The rows of a table without its first.
pub(crate) fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().skip(1).map(|line| line.split('\t').collect())
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

/// The inverse of [`unescape`].
pub(crate) fn escape(key: &[u8]) -> String {
    let shown = |&byte: &u8| match byte {
        33..=126 if byte != b'\\' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    key.iter().map(shown).collect()
}
