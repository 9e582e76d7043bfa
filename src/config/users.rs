//! The section `auth`: who clients are, and how they prove it.

use std::path::Path;
use std::sync::Arc;

use ringway_proxy::acl::Users;
use ringway_proxy::settings::{Secret, UserFile};

use super::reader::{Reader, Section};
use super::secret::Secrets;
use crate::users_file::UsersFile;

/// What the section says.
#[derive(Default)]
pub(crate) struct Auth {
    pub(crate) password: Option<Secret>,
    pub(crate) users: Option<Users>,
    pub(crate) users_file: Option<Arc<dyn UserFile>>,
}

/// Reads `auth`; a relative path starts at `base`.
pub(crate) fn auth(reader: &mut Reader, root: &Section<'_>, secrets: &Secrets<'_>, base: &Path) -> Auth {
    let at = reader.inner(root, "auth", &["password", "users_file"]);
    let password = secrets.read(reader, &at, "password");
    let Some(path) = reader.text(&at, "users_file") else { return Auth { password, ..Auth::default() } };
    if path.is_empty() {
        let text = "auth.users_file is empty; name a file, or use null for none";
        reader.problem(at.line_of("users_file"), text);
        return Auth { password, ..Auth::default() };
    }
    let file = UsersFile::new(base.join(path), password.clone());
    let users = match secrets {
        // users are of no concern to who looks at the placement
        Secrets::FormOnly => None,
        Secrets::Resolve(_) => match file.read() {
            Ok(users) => Some(users),
            Err(problems) => {
                for problem in problems.to_string().lines() {
                    reader.problem(at.line_of("users_file"), format!("auth.users_file: {problem}"));
                }
                None
            }
        },
    };
    Auth { password, users, users_file: Some(Arc::new(file)) }
}
