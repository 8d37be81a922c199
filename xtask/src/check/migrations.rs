//! The two databases' migrations are the same numbered steps, and end in the
//! same tables with the same columns.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::layout::Layout;

/// Table → its columns.
type Tables = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(layout: &Layout) -> Result<()> {
    let (sqlite, sqlite_tables) = read(&layout.root.join("migrations/sqlite"))?;
    let (postgres, postgres_tables) = read(&layout.root.join("migrations/postgres"))?;
    let mut differences = Vec::new();
    for name in sqlite.symmetric_difference(&postgres) {
        differences.push(format!("{name} is there for one engine only"));
    }
    let names: BTreeSet<_> = sqlite_tables.keys().chain(postgres_tables.keys()).collect();
    let none = BTreeSet::new();
    for table in names {
        let left = sqlite_tables.get(table).unwrap_or(&none);
        let right = postgres_tables.get(table).unwrap_or(&none);
        for column in left.symmetric_difference(right) {
            let engine = if left.contains(column) { "SQLite" } else { "PostgreSQL" };
            differences.push(format!("{table}.{column} is there on {engine} only"));
        }
    }
    if !differences.is_empty() {
        bail!("the engines' migrations differ:\n  {}", differences.join("\n  "));
    }
    Ok(())
}

fn read(directory: &Path) -> Result<(BTreeSet<String>, Tables)> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sql") {
            names.insert(name);
        }
    }
    let mut tables = Tables::new();
    for name in &names {
        apply(&fs::read_to_string(directory.join(name))?, &mut tables);
    }
    Ok((names, tables))
}

/// Follows `CREATE TABLE`, `DROP TABLE` and `ALTER TABLE … ADD/DROP COLUMN`.
fn apply(sql: &str, tables: &mut Tables) {
    let without_comments: String =
        sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    for statement in without_comments.split(';') {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let upper: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
        let is = |at: usize, word: &str| upper.get(at).is_some_and(|found| found == word);
        if is(0, "CREATE") && is(1, "TABLE") {
            let Some((head, body)) = statement.split_once('(') else {
                continue;
            };
            let Some(table) = head.split_whitespace().last() else {
                continue;
            };
            let body = body.rsplit_once(')').map_or(body, |(body, _)| body);
            let columns = split_at_top_level(body)
                .filter_map(|part| part.split_whitespace().next().map(clean))
                .filter(|word| {
                    !["primary", "unique", "foreign", "check", "constraint", "exclude"]
                        .contains(&word.as_str())
                })
                .collect();
            tables.insert(clean(table), columns);
        } else if is(0, "DROP") && is(1, "TABLE") {
            if let Some(table) = words.last() {
                tables.remove(&clean(table));
            }
        } else if is(0, "ALTER") && is(1, "TABLE") && is(4, "COLUMN") {
            let (Some(table), Some(column)) = (words.get(2), words.get(5)) else {
                continue;
            };
            let columns = tables.entry(clean(table)).or_default();
            if is(3, "ADD") {
                columns.insert(clean(column));
            } else if is(3, "DROP") {
                columns.remove(&clean(column));
            } else if let (true, Some(new)) = (is(3, "RENAME"), words.get(7)) {
                columns.remove(&clean(column));
                columns.insert(clean(new));
            }
        } else if is(0, "ALTER")
            && is(1, "TABLE")
            && is(3, "RENAME")
            && is(4, "TO")
            && let (Some(old), Some(new)) = (words.get(2), words.get(5))
            && let Some(columns) = tables.remove(&clean(old))
        {
            tables.insert(clean(new), columns);
        }
    }
}

fn clean(word: &str) -> String {
    word.trim_matches(['"', '`', ',', '(', ')']).to_lowercase()
}

/// Splits at the commas that are inside no parentheses.
fn split_at_top_level(body: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    body.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::{Tables, apply};

    #[test]
    fn columns_are_read_and_constraints_are_not() {
        let mut tables = Tables::new();
        apply(
            "CREATE TABLE runs (\n id TEXT PRIMARY KEY, -- a, b\n state TEXT CHECK (state IN ('a', 'b')),\n UNIQUE (id, state)\n);
             ALTER TABLE runs ADD COLUMN reason TEXT;",
            &mut tables,
        );
        let columns: Vec<_> = tables["runs"].iter().map(String::as_str).collect();
        assert_eq!(columns, ["id", "reason", "state"]);
    }
}
