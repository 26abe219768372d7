//! Budget.
/// Budget.
#[derive(Debug)]
pub struct Budget;
