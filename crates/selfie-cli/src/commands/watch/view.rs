//! The dashboard: progress, curves, what was logged last.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Wrap};
use selfie_eval::record::Outcome;
use selfie_train::progress::MEAN_STEPS;

use super::state::State;

/// A screen as high as this has a second row of charts.
const TWO_ROWS: u16 = 30;
/// Most points of a curve: more than a terminal has columns to tell apart.
const MAX_POINTS: usize = 400;

/// The probes: name, title.
const PROBES: [(&str, &str); 2] = [("probe/linear_accuracy", "linear probe"), ("probe/knn_accuracy", "neighbours")];
/// What the charts show: name, title. Probes are rare and asked for: they come before what is always there.
const CHARTS: [(&str, &str); 8] = [
    ("loss", "loss"),
    ("accuracy", "accuracy"),
    PROBES[0],
    PROBES[1],
    ("time/images_per_s", "images/s"),
    ("lr", "learning rate"),
    ("grad_norm", "gradient norm"),
    ("collapse", "collapse"),
];

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let n_log = if frame.area().height < TWO_ROWS { 5 } else { 8 };
    let heading = heading(state, frame.area().width);
    let [head, progress, charts, log, foot] = Layout::vertical([
        Constraint::Length(heading.len() as u16),
        Constraint::Length(1),
        Constraint::Min(6),
        Constraint::Length(n_log),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading), head);
    frame.render_widget(gauge(state), progress);
    draw_charts(frame, charts, state);
    let lines = &state.log[state.log.len().saturating_sub(usize::from(n_log) - 2)..];
    let text: Vec<Line<'_>> = lines.iter().map(|line| Line::raw(without_date(line))).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" last events ")), log);
    frame.render_widget(Line::styled(" q quits; the run goes on", quiet()), foot);
}

fn quiet() -> Style {
    Style::new().fg(Color::DarkGray)
}

/// The time of day and what was logged: the date would take the place of the figures.
fn without_date(line: &str) -> String {
    match line.split_once('T') {
        Some((date, rest)) if date.len() == 10 => rest.replacen('Z', "", 1),
        _ => line.to_owned(),
    }
}

fn heading(state: &State, width: u16) -> Vec<Line<'_>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let record = &state.record;
    let labels = record
        .fraction
        .map_or_else(String::new, |fraction| format!(", {} % of the labels", selfie_eval::table::percent(fraction)));
    let what = format!(
        "  {} {}{labels}, seed {}, {} {}",
        record.task, record.recipe, record.seed, record.device, record.dtype
    );
    let mut lines =
        vec![Line::from(vec![Span::styled(state.run.display().to_string(), bold), Span::styled(what, quiet())])];
    lines.extend(wrapped(&figures(state), width.into()).into_iter().map(Line::raw));
    if let Some((n_finished, n_runs)) = state.study {
        lines.push(Line::raw(format!("study: {n_finished} of {n_runs} runs of the table are finished")));
    }
    lines.push(Line::styled(outcome(state), bold));
    lines
}

/// The figures in as many lines as the width takes; what belongs together stays together.
fn wrapped(figures: &[String], width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for figure in figures {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 2 + figure.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { "  " });
            line.push_str(figure);
        }
    }
    lines
}

/// The newest figures, means over the last steps.
fn figures(state: &State) -> Vec<String> {
    let recent = |name: &str, of: &dyn Fn(f64) -> String| state.recent(name).map(of);
    let chance =
        state.series.last("chance").map_or_else(String::new, |chance| format!(" (chance {:.3})", chance.value));
    let n = state.series.get("loss").len().min(MEAN_STEPS);
    let parts = [
        (n > 1).then(|| format!("means of {n} steps:")),
        recent("loss", &|value| format!("loss {value:.4}")),
        recent("accuracy", &|value| format!("accuracy {value:.3}{chance}")),
        recent("collapse", &|value| format!("collapse {value:.4}")),
        state.series.last("lr").map(|point| format!("lr {:.2e}", point.value)),
        recent("time/images_per_s", &|value| format!("{value:.1} images/s")),
        recent("time/data_wait", &|value| format!("wait {:.0} %", 100.0 * value)),
    ];
    let probe = |(name, title): &(&str, &str)| Some(format!("{title} {:.3}", state.series.last(name)?.value));
    parts.into_iter().flatten().chain(PROBES.iter().filter_map(probe)).collect()
}

fn outcome(state: &State) -> String {
    match state.result.as_ref().map(|result| &result.outcome) {
        None => match (state.ended(), state.idle) {
            (Some(ended), _) => ended.to_owned(),
            (None, Some(idle)) if state.is_silent() => {
                format!("no step for {}: is it running?", time(idle.as_secs_f64()))
            }
            _ => String::new(),
        },
        Some(Outcome::Pretext { accuracy, chance, .. }) => {
            format!("finished: pretext accuracy {accuracy:.3} (chance {chance:.3})")
        }
        Some(Outcome::Classification { split, top1_accuracy, .. }) => {
            format!("finished: {split} accuracy {:.2} %", 100.0 * top1_accuracy)
        }
    }
}

fn gauge(state: &State) -> Gauge<'static> {
    let step = state.step();
    let (ratio, label) = match state.steps() {
        None => (0.0, format!("step {step}")),
        Some(steps) => {
            let runs = state.result.is_none() && state.ended().is_none() && !state.is_silent();
            let left = state.seconds_left().filter(|_| runs);
            let left = left.map_or_else(String::new, |seconds| format!(", ETA {}", time(seconds)));
            (step as f64 / steps.max(1) as f64, format!("step {step} of {steps}{left}"))
        }
    };
    Gauge::default().ratio(ratio.clamp(0.0, 1.0)).label(label).gauge_style(Style::new().fg(Color::Blue))
}

/// Seconds as `h:mm:ss`.
fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let mut charts = CHARTS.to_vec();
    charts.retain(|(name, _)| !state.series.get(name).is_empty());
    if charts.is_empty() {
        let waiting = Paragraph::new("no step is finished yet").block(Block::bordered()).wrap(Wrap { trim: true });
        return frame.render_widget(waiting, area);
    }
    let n_rows = if frame.area().height < TWO_ROWS { 1 } else { 2 };
    let n_columns = if area.width < 70 {
        1
    } else if area.width < 130 {
        2
    } else {
        3
    };
    let rows = Layout::vertical(vec![Constraint::Fill(1); n_rows]).split(area);
    let mut left = charts.into_iter();
    for row in rows.iter() {
        let columns = Layout::horizontal(vec![Constraint::Fill(1); n_columns]).split(*row);
        for (column, (name, title)) in columns.iter().zip(left.by_ref().take(n_columns).collect::<Vec<_>>()) {
            draw_chart(frame, *column, state, (name, title));
        }
    }
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, state: &State, (name, title): (&str, &str)) {
    let points = points(state, name);
    let range = |of: fn(&(f64, f64)) -> f64| {
        points
            .iter()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let level = level(state, name);
    let ((first, last), (low, high)) = (range(|point| point.0), range(|point| point.1));
    let (low, high) = level.map_or((low, high), |level| (low.min(level), high.max(level)));
    let room = if low == high { low.abs().max(1e-3) / 2.0 } else { (high - low) / 20.0 };
    // What is never negative has no axis below 0.
    let bounds = [if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room];
    let newest =
        state.series.last(name).map_or_else(String::new, |last| format!("{} at step {}", short(last.value), last.step));
    let levels: Vec<(f64, f64)> = level.into_iter().flat_map(|level| [(first, level), (last, level)]).collect();
    let curve = |style: Style| Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style);
    let datasets = vec![curve(quiet()).data(&levels), curve(Style::new().fg(Color::Cyan)).data(&points)];
    let x = Axis::default()
        .bounds([first, last.max(first + 1.0)])
        .labels([format!("{first}"), format!("{last}")])
        .style(quiet());
    let y = Axis::default().bounds(bounds).labels(ends(bounds)).style(quiet());
    let title = format!(" {title} {newest} ");
    frame.render_widget(Chart::new(datasets).block(Block::bordered().title(title)).x_axis(x).y_axis(y), area);
}

/// What guessing scores.
fn level(state: &State, name: &str) -> Option<f64> {
    let chance = |name: &str| state.series.last(name).map(|point| point.value);
    match name {
        "loss" => chance("chance").filter(|chance| *chance > 0.0).map(|chance| -chance.ln()),
        "accuracy" => chance("chance"),
        "probe/linear_accuracy" | "probe/knn_accuracy" => chance("probe/chance"),
        _ => None,
    }
}

/// The curve, each point the mean of neighbouring steps.
fn points(state: &State, name: &str) -> Vec<(f64, f64)> {
    let points = state.series.get(name);
    let mean = |points: &[selfie_report::Point]| {
        let sum: f64 = points.iter().map(|point| point.value).sum();
        points.last().map(|last| (last.step as f64, sum / points.len() as f64))
    };
    points.chunks(points.len().div_ceil(MAX_POINTS).max(1)).filter_map(mean).collect()
}

/// The ends of an axis, with more digits where they would read the same.
fn ends(bounds: [f64; 2]) -> [String; 2] {
    let [low, high] = bounds.map(short);
    if low != high {
        return [low, high];
    }
    let decimals = (1.0 - (bounds[1] - bounds[0]).log10().floor()).clamp(0.0, 9.0) as usize;
    bounds.map(|value| format!("{value:.decimals$}"))
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 1e-3 => format!("{value:.1e}"),
        small if small < 10.0 => format!("{value:.3}"),
        _ => format!("{value:.0}"),
    }
}
