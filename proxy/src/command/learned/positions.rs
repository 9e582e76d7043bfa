//! Key positions by key specifications, as Redis's `COMMAND GETKEYS` finds them.
//!
//! One difference: a keyword that is not there stands for an option that was not given, so that its specification
//! finds no key; a request in which no specification finds one is refused.

use super::super::bits::KeyUse;
use super::super::key_error::KeyError;
use super::super::keys::integer;
use super::super::specs::{Begin, Find, KeySpec};
use crate::resp::Args;

/// Adds the argument indexes of all keys to `out`; an error leaves it empty.
pub(in crate::command) fn positions(
    specs: &[KeySpec],
    args: &Args,
    out: &mut Vec<u32>,
) -> Result<(), KeyError> {
    for spec in specs {
        let Some(begin) = beginning(spec.begin, args) else { continue };
        if add(spec.find, begin, args, out).is_none() {
            out.clear();
            return Err(KeyError::Syntax);
        }
    }
    if out.is_empty() { Err(KeyError::Syntax) } else { Ok(()) }
}

/// What happens to each of these keys.
pub(in crate::command) fn key_uses(specs: &[KeySpec], args: &Args) -> Vec<KeyUse> {
    let (mut found, mut uses) = (Vec::new(), Vec::new());
    for spec in specs {
        if let Some(begin) = beginning(spec.begin, args)
            && add(spec.find, begin, args, &mut found).is_some()
        {
            uses.resize(found.len(), spec.uses);
        }
    }
    uses
}

fn beginning(begin: Begin, args: &Args) -> Option<usize> {
    let len = args.len();
    match begin {
        Begin::Index(at) => Some(at),
        Begin::Keyword(word, from) => {
            let is_word =
                |at: &usize| args.get(*at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
            let found = if from > 0 {
                (from as usize..len).find(is_word)
            } else {
                let last = len.checked_sub(from.unsigned_abs())?;
                (1..=last).rev().find(is_word)
            };
            found.map(|at| at + 1)
        }
        Begin::Unknown => None,
    }
}

/// `None` when what should be there is not.
fn add(find: Find, begin: usize, args: &Args, out: &mut Vec<u32>) -> Option<()> {
    let len = args.len() as i64;
    let begin = begin as i64;
    let (first, last, step) = match find {
        Find::Range { last, step, limit } => {
            let last = match (last as i64, limit as i64) {
                (last, _) if last >= 0 => begin + last,
                (last, 0) => len + last,
                (last, limit) => begin + (len - begin) / limit + last,
            };
            (begin, last, step)
        }
        Find::KeyNum { number, first, step } => {
            let count = integer(args.get(begin as usize + number)?)?;
            if count == 0 {
                // a request may say that it has none
                return Some(());
            }
            let first = begin + first as i64;
            (first, first.checked_add((count - 1).checked_mul(step as i64)?)?, step)
        }
        Find::Unknown => return None,
    };
    if first >= len || last >= len || last < first {
        return None;
    }
    out.extend((first..=last).step_by(step).map(|at| at as u32));
    Some(())
}
