//! What `metrics.jsonl` holds, by name: the steps' own measurements and whatever else a line has.

use serde_json::Value;

#[cfg(test)]
mod tests;

/// One value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Updates made.
    pub step: u64,
    /// The value.
    pub value: f64,
}

/// Every number of a run's metrics, by name, in the order of the lines.
///
/// A line is an object with a `step`; numbers in objects inside it are named by their path, as in `time/images_per_s`. What
/// is no number is passed over, so that a newer program's lines can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    names: Vec<String>,
    points: Vec<Vec<Point>>,
}

impl Series {
    /// Every whole line of a `metrics.jsonl`; a line that is no object with a step is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut series = Self::default();
        for line in whole_lines(text) {
            series.add(line);
        }
        series
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) {
        if let Some((step, numbers)) = numbers(line) {
            for (name, value) in numbers {
                self.points_of(name).push(Point { step, value });
            }
        }
    }

    fn points_of(&mut self, name: String) -> &mut Vec<Point> {
        let idx = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.points.push(Vec::new());
            self.names.len() - 1
        });
        &mut self.points[idx]
    }

    /// The names, each once, in the order they first appeared.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The values of a name; none if there is no such name.
    #[must_use]
    pub fn get(&self, name: &str) -> &[Point] {
        self.names.iter().position(|known| known == name).map_or(&[], |idx| &self.points[idx])
    }

    /// The last value of a name.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<Point> {
        self.get(name).last().copied()
    }
}

/// The lines that end: a last one without its newline is still being written.
pub(crate) fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text[..text.rfind('\n').map_or(0, |end| end + 1)].lines()
}

/// The step of a line and its numbers by name, in the order of the line's names.
pub(crate) fn numbers(line: &str) -> Option<(u64, Vec<(String, f64)>)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let step = value.get("step")?.as_u64()?;
    let mut numbers = Vec::new();
    collect("", &value, &mut numbers);
    numbers.retain(|(name, _)| name != "step");
    Some((step, numbers))
}

fn collect(path: &str, value: &Value, numbers: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(values) => {
            for (key, value) in values {
                let path = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
                collect(&path, value, numbers);
            }
        }
        Value::Number(number) => numbers.extend(number.as_f64().map(|number| (path.to_owned(), number))),
        _ => {}
    }
}
