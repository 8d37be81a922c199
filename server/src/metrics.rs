//! What is counted, in Prometheus' form.

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The instruments. Each is registered once, here, so that the names stand in
/// one place.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Attempts that ended, by state (`cicd.pipeline.task.run.result`).
    pub attempts: IntCounterVec,
    /// How long each stage took, in seconds, by stage.
    pub stage_seconds: HistogramVec,
    /// How long it took from a push to its evaluation, in seconds, by how the
    /// machine came to be.
    pub push_to_evaluation: HistogramVec,
    /// How long each step on that way took, and those after it up to the first
    /// task, in seconds.
    pub step_seconds: HistogramVec,
    /// Attempts that wait for a machine.
    pub queued: IntGauge,
    /// Attempts that are being worked on.
    pub running: IntGauge,
    /// Sign-ins, by result.
    pub sign_ins: IntCounterVec,
    /// Attempts to send a mail, by result.
    pub mails: IntCounterVec,
    /// Requests, by status class.
    pub requests: IntCounterVec,
}

impl Metrics {
    /// Registers all instruments.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let stage_seconds = HistogramVec::new(
            HistogramOpts::new("devenv_cloud_stage_seconds", "How long stages of jobs took, in seconds")
                .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]),
            &["stage"],
        )?;
        registry.register(Box::new(stage_seconds.clone()))?;
        let quick = |name: &str, help: &str, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
            let buckets = vec![
                0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0,
                300.0,
            ];
            let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        Ok(Self {
            attempts: counter("devenv_cloud_attempts_total", "Attempts that ended, by result", "result")?,
            queued: gauge("devenv_cloud_attempts_queued", "Attempts that wait for a machine")?,
            running: gauge("devenv_cloud_attempts_running", "Attempts that are being worked on")?,
            sign_ins: counter("devenv_cloud_sign_ins_total", "Sign-ins, by result", "result")?,
            mails: counter("devenv_cloud_mails_total", "Attempts to send a mail, by result", "result")?,
            requests: counter("devenv_cloud_requests_total", "HTTP requests, by class of status", "class")?,
            stage_seconds,
            push_to_evaluation: quick(
                "devenv_cloud_push_to_evaluation_seconds",
                "From a push that was stored to the first word of its evaluation, by how the machine came to be",
                &["start"],
            )?,
            step_seconds: quick(
                "devenv_cloud_push_step_seconds",
                "The steps from a push to the first task of its job, by how the machine came to be",
                &["stage", "start"],
            )?,
            registry,
        })
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// When an instrument cannot be shown.
    pub fn show(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
