//! What is wrong with a file: where, what, and how to mend it.
//!
//! Reading goes on after a problem, so that one run of `ringway check` shows all of them. A value that may be
//! a secret never enters a message (law I11).

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line of the file, from 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong, and the mend.
    pub(crate) text: String,
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems {
    /// The file's name as the user wrote it.
    pub(crate) file: String,
    /// At least one.
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    /// Sorts by line, and keeps what was found first on one line first.
    pub(crate) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.line);
        Self { file: file.to_owned(), list }
    }

    /// A problem of the file as a whole.
    pub(crate) fn of_file(file: &str, text: impl Into<String>) -> Self {
        Self::new(file, vec![Problem { line: 0, text: text.into() }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                0 => write!(f, "{}: {}", self.file, problem.text)?,
                line => write!(f, "{}:{line}: {}", self.file, problem.text)?,
            }
        }
        Ok(())
    }
}

/// Text from a file as it may stand in a message: escaped, and cut when it is long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut cut: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        cut.push('…');
    }
    cut.replace("\\'", "'").replace("\\\"", "\"")
}
