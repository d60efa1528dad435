//! Cross entropy with label smoothing, mean over rows.

use crate::Real;

/// The mean loss and the probabilities `[rows, classes]`, which backward needs.
pub(crate) fn cross_entropy<T: Real>(logits: &[T], labels: &[u32], smoothing: f64) -> (T, Vec<T>) {
    let classes = logits.len() / labels.len();
    let smoothing = T::from_f64(smoothing);
    let share = smoothing / T::from_f64(classes as f64);
    let mut probs = logits.to_vec();
    let mut total = 0.0;
    for ((probs, logits), &label) in probs.chunks_exact_mut(classes).zip(logits.chunks_exact(classes)).zip(labels) {
        let log_normaliser = softmax(probs);
        let at_label = log_normaliser - logits[label as usize];
        let mut everywhere = T::zero();
        for &l in logits {
            everywhere += log_normaliser - l;
        }
        total += ((T::one() - smoothing) * at_label + share * everywhere).to_f64();
    }
    (T::from_f64(total / labels.len() as f64), probs)
}

/// `d_loss · (probs − smoothed labels) / rows`.
pub(crate) fn cross_entropy_backward<T: Real>(probs: &[T], labels: &[u32], smoothing: f64, d_loss: T) -> Vec<T> {
    let classes = probs.len() / labels.len();
    let scale = d_loss / T::from_f64(labels.len() as f64);
    let share = T::from_f64(smoothing / classes as f64);
    let at_label = T::from_f64(1.0 - smoothing);
    let mut d_logits: Vec<T> = probs.iter().map(|&p| scale * (p - share)).collect();
    for (row, &label) in d_logits.chunks_exact_mut(classes).zip(labels) {
        row[label as usize] -= scale * at_label;
    }
    d_logits
}

/// Softmax of one row in place; returns the logarithm of its normaliser.
pub(crate) fn softmax<T: Real>(row: &mut [T]) -> T {
    let max = row.iter().copied().fold(T::from_f64(f64::NEG_INFINITY), |a, b| if b > a { b } else { a });
    let mut sum = T::zero();
    for v in row.iter_mut() {
        *v = (*v - max).exp();
        sum += *v;
    }
    let scale = T::one() / sum;
    for v in row.iter_mut() {
        *v *= scale;
    }
    max + sum.ln()
}
