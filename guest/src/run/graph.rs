//! Who waits for whom. Pure: names and wishes in, edges or a complaint out.

use std::collections::BTreeMap;

/// What about another task is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    Started,
    /// A process is ready; a task has succeeded.
    Ready,
    /// It has succeeded.
    Succeeded,
    /// It has ended, however.
    Completed,
}

/// A task, as far as order is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it keeps running: then others wait until it is ready.
    pub is_process: bool,
    /// Names that come before it, possibly with a suffix such as `@completed`.
    pub after: Vec<String>,
    /// Names that come after it; a suffix says what they wait for.
    pub before: Vec<String>,
}

/// Something that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The index of the other task.
    pub on: usize,
    /// What about it.
    pub condition: Condition,
}

/// A task that was asked for by name and cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantError {
    /// A name that nothing has.
    #[error("there is no task {name}.{hint}")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest name as a question, or all there are.
        hint: String,
    },
    /// It never ends.
    #[error("{0} is a process: it runs as long as a task needs it, and cannot be asked for alone")]
    Process(String),
}

/// Which nodes stay when only these are wanted: they, and all that they wait for.
///
/// # Errors
/// As [`WantError`] says.
pub fn wanted(nodes: &[Node], edges: &[Vec<Edge>], names: &[String]) -> Result<Vec<bool>, WantError> {
    let mut keep = vec![false; nodes.len()];
    let mut todo = Vec::new();
    for name in names {
        let Some(at) = nodes.iter().position(|node| node.name == *name) else {
            return Err(WantError::Unknown { name: name.clone(), hint: hint(nodes, name) });
        };
        if nodes[at].is_process {
            return Err(WantError::Process(name.clone()));
        }
        todo.push(at);
    }
    while let Some(at) = todo.pop() {
        if !std::mem::replace(&mut keep[at], true) {
            todo.extend(edges[at].iter().map(|edge| edge.on));
        }
    }
    Ok(keep)
}

fn hint(nodes: &[Node], name: &str) -> String {
    let names = || nodes.iter().filter(|node| !node.is_process).map(|node| node.name.as_str());
    if let Some(nearest) = nearest(names(), name) {
        return format!(" Did you mean {nearest}?");
    }
    let own: Vec<_> = names().filter(|name| !name.starts_with("devenv:")).collect();
    if own.is_empty() {
        " The project has no tasks.".to_owned()
    } else {
        format!(" There are: {}.", own.join(", "))
    }
}

/// Why there is no order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A name that nothing has.
    #[error("the task {task} names {dependency} in `{wish}`, but there is no such task.{hint}")]
    Unknown {
        /// Who names it.
        task: String,
        /// The name.
        dependency: String,
        /// `after` or `before`.
        wish: &'static str,
        /// The nearest name, as a question.
        hint: String,
    },
    /// A suffix that means nothing.
    #[error(
        "the task {task} names {dependency}: after @ there can be started, ready, succeeded or completed"
    )]
    Suffix {
        /// Who names it.
        task: String,
        /// The whole name.
        dependency: String,
    },
    /// Tasks that wait for each other.
    #[error("tasks wait for each other: {}", .0.join(" → "))]
    Cycle(Vec<String>),
}

/// For each task, what it waits for.
///
/// # Errors
/// As [`GraphError`] says.
pub fn resolve(nodes: &[Node]) -> Result<Vec<Vec<Edge>>, GraphError> {
    let index: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let mut edges = vec![Vec::new(); nodes.len()];
    let mut add = |from: usize, edge: Edge| {
        let list: &mut Vec<Edge> = &mut edges[from];
        if !list.contains(&edge) {
            list.push(edge);
        }
    };
    for (at, node) in nodes.iter().enumerate() {
        for wish in &node.after {
            let (other, condition) = find(&index, node, wish, "after")?;
            let condition = condition.unwrap_or(usual(&nodes[other]));
            add(at, Edge { on: other, condition });
        }
        for wish in &node.before {
            let (other, condition) = find(&index, node, wish, "before")?;
            add(other, Edge { on: at, condition: condition.unwrap_or(usual(node)) });
        }
    }
    match cycle(&edges) {
        None => Ok(edges),
        Some(cycle) => {
            let mut names: Vec<String> = cycle.into_iter().map(|at| nodes[at].name.clone()).collect();
            // Wherever the search began: the same cycle has the same words.
            let first = names.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(at, _)| at);
            names.rotate_left(first);
            names.extend(names.first().cloned());
            Err(GraphError::Cycle(names))
        }
    }
}

fn usual(node: &Node) -> Condition {
    if node.is_process { Condition::Ready } else { Condition::Succeeded }
}

fn find(
    index: &BTreeMap<&str, usize>,
    node: &Node,
    wish: &str,
    which: &'static str,
) -> Result<(usize, Option<Condition>), GraphError> {
    let (name, condition) = match wish.split_once('@') {
        None => (wish, None),
        Some((name, suffix)) => {
            let condition = match suffix {
                "started" => Condition::Started,
                "ready" => Condition::Ready,
                "succeeded" => Condition::Succeeded,
                "completed" => Condition::Completed,
                _ => {
                    return Err(GraphError::Suffix { task: node.name.clone(), dependency: wish.to_owned() });
                }
            };
            (name, Some(condition))
        }
    };
    let at = index.get(name).copied().ok_or_else(|| GraphError::Unknown {
        task: node.name.clone(),
        dependency: name.to_owned(),
        wish: which,
        hint: nearest(index.keys().copied(), name)
            .map_or_else(String::new, |nearest| format!(" Did you mean {nearest}?")),
    })?;
    Ok((at, condition))
}

fn nearest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    names
        .map(|name| (strsim::damerau_levenshtein(name, wanted), name))
        .filter(|(distance, _)| *distance <= wanted.chars().count().div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// A cycle, in the order in which its members would have to run.
fn cycle(edges: &[Vec<Edge>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Path,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // Depth first, with a stack of our own: a chain of tasks may be long.
        let mut path = vec![(start, 0)];
        marks[start] = Mark::Path;
        while let Some((at, next)) = path.last_mut() {
            let Some(edge) = edges[*at].get(*next) else {
                marks[*at] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[edge.on] {
                Mark::New => {
                    marks[edge.on] = Mark::Path;
                    path.push((edge.on, 0));
                }
                Mark::Path => {
                    let mut cycle: Vec<usize> =
                        path.iter().map(|(at, _)| *at).skip_while(|at| *at != edge.on).collect();
                    cycle.reverse();
                    return Some(cycle);
                }
                Mark::Done => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, after: &[&str], before: &[&str]) -> Node {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node { name: name.to_owned(), is_process: false, after: owned(after), before: owned(before) }
    }

    #[test]
    fn after_and_before_are_two_ways_to_say_it() {
        let edges = resolve(&[node("a:x", &[], &["a:y"]), node("a:y", &[], &[]), node("a:z", &["a:y"], &[])])
            .unwrap();
        let on = |on| Edge { on, condition: Condition::Succeeded };
        assert_eq!(edges, [vec![], vec![on(0)], vec![on(1)]]);
    }

    #[test]
    fn suffixes_say_what_is_waited_for() {
        let process = Node { is_process: true, ..node("p:db", &[], &[]) };
        let nodes =
            [process, node("a:x", &["p:db"], &[]), node("a:y", &["p:db@started", "a:x@completed"], &[])];
        let edges = resolve(&nodes).unwrap();
        assert_eq!(edges[1], [Edge { on: 0, condition: Condition::Ready }]);
        assert_eq!(
            edges[2],
            [Edge { on: 0, condition: Condition::Started }, Edge { on: 1, condition: Condition::Completed }]
        );
    }

    #[test]
    fn a_cycle_is_named_in_the_order_of_running() {
        let error = resolve(&[
            node("a:x", &["c:z"], &[]),
            node("b:y", &["a:x"], &[]),
            node("c:z", &["b:y"], &[]),
            node("d:free", &[], &[]),
        ])
        .unwrap_err();
        assert_eq!(error.to_string(), "tasks wait for each other: a:x → b:y → c:z → a:x");
    }

    #[test]
    fn a_task_that_waits_for_itself_is_a_cycle() {
        let error = resolve(&[node("a:x", &["a:x@completed"], &[])]).unwrap_err();
        assert_eq!(error.to_string(), "tasks wait for each other: a:x → a:x");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let error =
            resolve(&[node("app:build", &[], &[]), node("app:test", &["app:biuld"], &[])]).unwrap_err();
        let words = error.to_string();
        assert!(words.contains("Did you mean app:build?") && words.contains("`after`"), "{words}");
    }

    #[test]
    fn an_unknown_suffix_is_refused() {
        let error = resolve(&[node("a:x", &[], &[]), node("a:y", &["a:x@finished"], &[])]).unwrap_err();
        assert!(matches!(error, GraphError::Suffix { .. }));
    }

    #[test]
    fn what_is_wanted_stays_with_all_that_it_waits_for() {
        let nodes = [
            node("a:build", &[], &[]),
            node("a:test", &["a:build@completed"], &[]),
            node("a:setup", &[], &["a:build"]),
            node("a:deploy", &["a:test"], &[]),
        ];
        let edges = resolve(&nodes).unwrap();
        let keep = |name: &str| wanted(&nodes, &edges, &[name.to_owned()]);
        assert_eq!(keep("a:test").unwrap(), [true, true, true, false]);
        assert_eq!(keep("a:setup").unwrap(), [false, false, true, false]);
        let words = keep("a:tset").unwrap_err().to_string();
        assert_eq!(words, "there is no task a:tset. Did you mean a:test?");
        let words = keep("something").unwrap_err().to_string();
        assert!(words.contains("There are: a:build, a:test, a:setup, a:deploy."), "{words}");
    }

    #[test]
    fn a_process_is_not_wanted_alone() {
        let nodes = [Node { is_process: true, ..node("p:db", &[], &[]) }];
        let error = wanted(&nodes, &resolve(&nodes).unwrap(), &["p:db".to_owned()]).unwrap_err();
        assert_eq!(error, WantError::Process("p:db".to_owned()));
    }

    #[test]
    fn a_long_chain_is_no_problem() {
        let mut nodes = vec![node("t:0", &[], &[])];
        nodes.extend(
            (1..50_000).map(|number| node(&format!("t:{number}"), &[&format!("t:{}", number - 1)], &[])),
        );
        assert!(resolve(&nodes).is_ok());
    }
}
