//! The keys that a mistyped key may have meant.

use std::path::{Path, PathBuf};

/// Suggestions shown at most.
const N_SHOWN: usize = 3;

/// A sentence that names the keys nearest to `wrong`, or every key of its table if none is near. `keys` are
/// `table.key`.
pub(crate) fn hint(wrong: &str, keys: &[String]) -> String {
    let (wrong_table, wrong_name) = wrong.rsplit_once('.').map_or((None, wrong), |(table, name)| (Some(table), name));
    let mut near: Vec<(usize, &String)> = keys
        .iter()
        .filter_map(|key| {
            let (table, name) = key.split_once('.')?;
            let table_distance = wrong_table.map_or(0, |wrong_table| distance(wrong_table, table).min(2));
            Some((name_distance(wrong_name, name) + table_distance, key))
        })
        .filter(|(distance, _)| *distance <= tolerated(wrong_name))
        .collect();
    near.sort();
    if !near.is_empty() {
        let shown: Vec<String> = near.iter().take(N_SHOWN).map(|(_, key)| format!("`{key}`")).collect();
        return format!("did you mean {}?", shown.join(" or "));
    }
    let of_table: Vec<&str> = keys
        .iter()
        .filter_map(|key| key.split_once('.').filter(|(table, _)| Some(*table) == wrong_table))
        .map(|(_, name)| name)
        .collect();
    match wrong_table {
        Some(table) if !of_table.is_empty() => format!("[{table}] has {}", of_table.join(", ")),
        _ => "`config show` lists every key".to_owned(),
    }
}

/// The bare name of the key that is called `word`, or that `word` begins or abbreviates; `keys` are `table.key`.
pub(super) fn bare_key<'a>(word: &str, keys: &'a [String]) -> Option<&'a str> {
    let mut names: Vec<&str> = keys.iter().filter_map(|key| key.split_once('.')).map(|(_, name)| name).collect();
    names.sort_by_key(|name| *name != word);
    names.into_iter().find(|name| *name == word || is_short_for(word, name))
}

/// The one of `names` that `wrong` may have meant: one edit away, or a few that leave the first letter.
#[must_use]
pub fn name_meant_by<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let (near, name) = names.iter().map(|name| (distance(wrong, name), *name)).min()?;
    let begins_alike = wrong.chars().next() == name.chars().next();
    (near <= tolerated(wrong) && (near == 1 || begins_alike)).then_some(name)
}

/// What lies beside a path that is not there, under a name that may have been meant.
#[must_use]
pub fn path_meant_by(path: &Path) -> Option<PathBuf> {
    let wrong = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?.flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.starts_with('.')).collect();
    name_meant_by(wrong, &names).map(|near| path.with_file_name(near))
}

/// Edits up to which a name may have been meant: never all of what was typed.
fn tolerated(wrong: &str) -> usize {
    let n = wrong.chars().count();
    (n / 3).max(2).min(n.saturating_sub(1)).max(1)
}

/// How far a name is from what was typed: little where one begins with the other (`batchsize`, `batch`) and where initials
/// were typed (`lr`).
fn name_distance(wrong: &str, name: &str) -> usize {
    if is_short_for(wrong, name) { 1 } else { distance(wrong, name) }
}

fn is_short_for(word: &str, name: &str) -> bool {
    let begins = word.len().min(name.len()) > 3 && (word.starts_with(name) || name.starts_with(word));
    let initials = word.len() > 1 && name.split('_').filter_map(|part| part.chars().next()).eq(word.chars());
    begins || initials
}

/// Edits that turn one text into the other: insertions, deletions, substitutions, swaps of neighbours (optimal string
/// alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (row, cells) in rows.iter_mut().enumerate() {
        cells[0] = row;
    }
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=left.len() {
        for column in 1..=right.len() {
            let substituted = rows[row - 1][column - 1] + usize::from(left[row - 1] != right[column - 1]);
            let mut best = substituted.min(rows[row - 1][column] + 1).min(rows[row][column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(rows[row - 2][column - 2] + 1);
            }
            rows[row][column] = best;
        }
    }
    rows[left.len()][right.len()]
}
