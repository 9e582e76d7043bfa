//! The file of users (`auth.users_file`), in the form of Redis's ACL file: read at the start, at SIGHUP and by ACL LOAD,
//! written by ACL SAVE.

use std::path::PathBuf;

use ringway_proxy::acl::Users;
use ringway_proxy::settings::{Secret, UserFile};

use crate::config::problem::{Problem, Problems};
use crate::config::read_text;
use crate::whole_file;

/// Where users are kept.
#[derive(Debug, Clone)]
pub(crate) struct UsersFile {
    path: PathBuf,
    /// The default user's, when no line has that user.
    password: Option<Secret>,
}

impl UsersFile {
    pub(crate) fn new(path: PathBuf, password: Option<Secret>) -> Self {
        Self { path, password }
    }

    /// Reads the users.
    ///
    /// # Errors
    /// Every line that is not understood, or why the file cannot be read.
    pub(crate) fn read(&self) -> Result<Users, Problems> {
        // a pipe would be waited for
        if std::fs::metadata(&self.path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
            return Err(Problems::of_file(&self.path.display().to_string(), "is no regular file; name one"));
        }
        let text = read_text(&self.path)?;
        Users::read(&text, self.password.as_ref()).map_err(|lines| {
            let list = lines.into_iter().map(|line| Problem { line: line.line, text: line.text }).collect();
            Problems::new(&self.path.display().to_string(), list)
        })
    }
}

impl UserFile for UsersFile {
    fn load(&self) -> Result<Users, String> {
        self.read().map_err(|problems| problems.to_string().replace('\n', "; "))
    }

    fn save(&self, users: &Users, last: &Users) -> Result<(), String> {
        let failed = |error: String| format!("{} cannot be written: {error}", self.path.display());
        if self.path.exists() && self.read().map_or(true, |there| there != *last) {
            return Err(failed("it has changed since it was read; ACL LOAD reads it again".into()));
        }
        let text = users.to_file(self.password.as_ref()).map_err(failed)?;
        let denied = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => failed("its directory may not be written to".into()),
            _ => failed(error.to_string()),
        };
        whole_file::replace_keeping_rights(&self.path, text.as_bytes()).map_err(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again_and_every_bad_line_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.acl");
        let file = UsersFile::new(path.clone(), Some(Secret::new("pa55")));
        assert!(file.load().unwrap_err().contains("cannot be read"));
        std::fs::write(&path, "user shop on >hunter2 ~shop:* +@all -@dangerous\n").unwrap();
        let users = file.read().unwrap();
        assert!(!users.lets_everybody_in());
        assert!(!format!("{users:?} {file:?}").contains("hunter2"));
        // the default user's password stays in the configuration
        file.save(&users, &users).unwrap();
        let saved = std::fs::read_to_string(&path).unwrap();
        assert!(saved.starts_with("user shop on #") && saved.lines().count() == 1, "{saved}");
        assert_eq!(file.read().unwrap(), users);
        // without one the file has to say who that is
        let alone = UsersFile::new(path.clone(), None);
        assert!(alone.load().unwrap_err().contains(":1: there is no user default, so that everybody"));
        assert!(
            file.save(&Users::open(None), &users)
                .unwrap_err()
                .contains("the default user's password is auth.password")
        );
        assert_eq!(file.read().unwrap(), users, "nothing was written");
        let why = alone.save(&Users::open(None), &users).unwrap_err();
        assert!(why.contains("it has changed since it was read"), "{why}");
        std::fs::remove_file(&path).unwrap();
        alone.save(&Users::open(None), &users).unwrap();
        assert!(alone.read().unwrap().lets_everybody_in());
    }

    #[test]
    fn every_bad_line_is_told_and_no_password_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.acl");
        let text = "user a +gte\nuser\n\n# a comment\nuser a on >hunter2 ~* ~x\nuser default on\n\
                    user b (+get ~a) >hunter2 +nothing\nuser c (+get >hunter2)\nuser d (+get\nuser e <hunter2\n";
        std::fs::write(&path, text).unwrap();
        let text = UsersFile::new(path, Some(Secret::new("pa55"))).load().unwrap_err();
        for line in [
            ":1: user a, '+gte': Unknown command",
            ":2: does not begin with  user NAME",
            ":5: this user stands in line 1",
            ":5: user a, rule 4: Adding a pattern",
            ":6: the default user's password is auth.password",
            ":7: user b, '+nothing': Unknown command",
            ":8: user c, rule 1: Syntax error; a rule begins with",
            ":9: user d, rule 1: Unmatched parenthesis",
            ":10: user e, rule 1: The password you are trying to remove",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}
