//! Passwords and tokens: written out, `{env: NAME}` or `{file: PATH}`.
//!
//! Neither the value nor the contents of the file or variable ever enter a message (law I11).

use std::path::{Path, PathBuf};

use ringway_proxy::settings::Secret;

use super::problem::shown;
use super::reader::{Reader, Section};
use super::yaml::{Node, Value};

/// A password file larger than this is the wrong file.
const LONGEST_BYTES: u64 = 16 * 1024;

/// Where secrets come from.
pub(crate) enum Secrets<'a> {
    /// Read variables and files; relative paths start at this directory.
    Resolve(&'a Path),
    /// Check the form only: commands that look at the placement need no password.
    FormOnly,
}

impl Secrets<'_> {
    /// Reads a secret. `None` when it is absent or null, or when a problem was noted.
    pub(crate) fn read(&self, reader: &mut Reader, section: &Section<'_>, key: &str) -> Option<Secret> {
        let node = section.get(key)?;
        let path = section.path(key);
        let found = match &node.value {
            Value::Scalar(text) => Ok(Some(text.clone())),
            Value::Map(_) => self.indirect(node),
            _ => Err(format!("is {}; write text, {{env: NAME}} or {{file: PATH}}", node.kind())),
        };
        match found {
            Ok(Some(text)) if text.is_empty() => {
                reader.problem(node.line, format!("{path} is empty; use null for none"));
                None
            }
            Ok(text) => text.map(Secret::new),
            Err(why) => {
                reader.problem(node.line, format!("{path} {why}"));
                None
            }
        }
    }

    fn indirect(&self, node: &Node) -> Result<Option<String>, String> {
        let Some([field]) = node.entries() else {
            return Err("holds several fields; write exactly one of {env: NAME} and {file: PATH}".to_owned());
        };
        let Value::Scalar(name) = &field.value.value else {
            return Err(format!(
                "has no single value after '{}'; write {{env: NAME}} or {{file: PATH}}",
                shown(&field.key)
            ));
        };
        match (field.key.as_str(), self) {
            ("env" | "file", Self::FormOnly) => Ok(None),
            ("env", Self::Resolve(_)) => from_env(name).map(Some),
            ("file", Self::Resolve(base)) => from_file(&base.join(name)).map(Some),
            (other, _) => {
                Err(format!("has the unknown form '{}'; write {{env: NAME}} or {{file: PATH}}", shown(other)))
            }
        }
    }
}

fn from_env(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("names the environment variable {}, which is not set; set it", shown(name)))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("names the environment variable {}, which is not UTF-8; set it anew", shown(name)))
        }
    }
}

fn from_file(path: &Path) -> Result<String, String> {
    let shown_path = shown(&path.display().to_string());
    let length = std::fs::metadata(path)
        .map_err(|error| format!("names the file {shown_path}: {error}; make it readable"))?;
    if !length.is_file() || length.len() > LONGEST_BYTES {
        return Err(format!(
            "names {shown_path}, which is no file of at most 16 KiB; name the password's own file"
        ));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("names the file {shown_path}: {error}; make it readable UTF-8 text"))?;
    let end = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(end.to_owned())
}

/// The directory that relative paths of a configuration file start at: the file's own.
pub(crate) fn base_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read(text: &str, secrets: &Secrets<'_>) -> (Option<Secret>, Vec<String>) {
        let mut reader = Reader::default();
        let root = yaml::parse(text, &mut reader.problems).unwrap();
        let section = reader.section(Some(&root), "auth", &["password"]);
        let secret = secrets.read(&mut reader, &section, "password");
        (secret, reader.problems.into_iter().map(|problem| problem.text).collect())
    }

    #[test]
    fn all_three_forms() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "from a file\n").unwrap();
        let secrets = Secrets::Resolve(folder.path());
        let revealed = |text: &str| read(text, &secrets).0.map(|secret| secret.reveal().to_owned());
        assert_eq!(revealed("password: 12345").as_deref(), Some("12345"));
        assert_eq!(revealed("password: {file: pw}").as_deref(), Some("from a file"));
        assert_eq!(revealed("password: {env: PATH}"), std::env::var("PATH").ok());
        assert_eq!(revealed("password: null"), None);
        assert!(read("password: {env: RINGWAY_NO_SUCH_VARIABLE}", &Secrets::FormOnly).1.is_empty());
    }

    #[test]
    fn messages_never_hold_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let secrets = Secrets::Resolve(folder.path());
        for text in [
            "password: ''",
            "password: [hunter2]",
            "password: {value: hunter2}",
            "password: {env: RINGWAY_NO_SUCH_VARIABLE}",
            "password: {file: no-such-file}",
            "password: {file: empty}",
            "password: {file: .}",
            "password: {env: A, file: B}",
            "password: {env: [hunter2]}",
        ] {
            let (secret, problems) = read(text, &secrets);
            assert!(secret.is_none() && problems.len() == 1, "{text}: {problems:?}");
            assert!(!problems[0].contains("hunter2"), "{text}: {problems:?}");
        }
    }
}
