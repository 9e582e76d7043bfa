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

    fn save(&self, users: &Users) -> Result<(), String> {
        let failed = |error: String| format!("{} cannot be written: {error}", self.path.display());
        let text = users.to_file(self.password.as_ref()).map_err(failed)?;
        whole_file::replace(&self.path, text.as_bytes()).map_err(|error| failed(error.to_string()))
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
        file.save(&users).unwrap();
        let saved = std::fs::read_to_string(&path).unwrap();
        assert!(saved.starts_with("user shop on #") && saved.lines().count() == 1, "{saved}");
        assert_eq!(file.read().unwrap(), users);
        // without one the file has to say who that is
        let alone = UsersFile::new(path.clone(), None);
        assert!(alone.load().unwrap_err().contains(":1: there is no user default, so that everybody"));
        assert!(
            file.save(&Users::open(None))
                .unwrap_err()
                .contains("the default user's password is auth.password")
        );
        assert_eq!(file.read().unwrap(), users, "nothing was written");
        alone.save(&Users::open(None)).unwrap();
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
            ":1: '+gte': Unknown command",
            ":2: does not begin with  user NAME",
            ":5: this user stands in line 1",
            ":5: rule 4: Adding a pattern",
            ":6: the default user's password is auth.password",
            ":7: '+nothing': Unknown command",
            ":8: rule 1: Syntax error",
            ":9: rule 1: Unmatched parenthesis",
            ":10: rule 1: The password you are trying to remove",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}
