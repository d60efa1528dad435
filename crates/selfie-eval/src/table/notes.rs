//! What a reader must know of a study's table, in sentences: Markdown and the report's page say the same.

use super::{ArmCell, StudyTable, TestSet, Variance};
use crate::record::Arm;

impl Variance {
    /// What a ± is over.
    fn words(self) -> &'static str {
        match self {
            Self::FinetuningSeeds => {
                "the fine-tuning seeds (initialisation of the new layers, batch order, labelled subset); one pretraining run serves them \
                 all, so the spread between pretraining runs is not in it"
            }
            Self::PretrainingAndFinetuningSeeds => "the pretraining seeds and the fine-tuning seeds together",
        }
    }
}

impl StudyTable {
    /// What helps to read the table, one text a subject.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!("± is the sample standard deviation over {}.", self.about.variance.words())];
        if self.n_diverged() > 0 {
            notes.push(
                "Runs that diverged, whose numbers were no longer finite (diverged.json in their folder says which), are in no mean \
                 and no difference: those that are left are the better ones."
                    .to_owned(),
            );
        }
        notes.extend(self.about.test_set.map(TestSet::sentence));
        if self.arms().contains(&Arm::Scratch) {
            notes.push(
                "Differences are paired by seed: the runs of a seed share the labelled subset. The interval and the first p-value are \
                 Student's t; the second counts all flips of the signs, and with n pairs is never below 2/2ⁿ. The spread ratio is the \
                 arm's standard deviation over that of the runs from scratch."
                    .to_owned(),
            );
        }
        let n_tests =
            self.cells().filter(|cell| cell.difference.is_some_and(|difference| difference.test.is_some())).count();
        if n_tests > 1 {
            notes.push(format!(
                "Each of the {n_tests} differences is tested by itself: of twenty without a cause, one is below p = 0.05 on average."
            ));
        }
        if self.fractions.iter().any(|row| row.paper.is_some()) {
            notes.push(
                "The paper's figures are of ResNet-50 at full width and 120,000 updates; those marked * were read in a primary \
                 source, the others and every ± of the paper are as recalled."
                    .to_owned(),
            );
        }
        notes
    }
}

impl ArmCell {
    /// What a reader must know of how the learning rate was chosen, if anything.
    #[must_use]
    pub fn choice_note(&self) -> Option<&'static str> {
        if self.all_diverged() {
            Some("the lowest: every one diverged")
        } else if self.all_tied() {
            Some("all did the same")
        } else {
            self.chose_an_end().then_some("an end of what was tried")
        }
    }
}
