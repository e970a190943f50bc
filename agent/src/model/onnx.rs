//! ONNX networks through tract. The only module that names tract.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::{
    Datum, Framework, InferenceModelExt, IntoRunnable, IntoTValue, TValue, Tensor, TractResult, TypedRunnableModel,
    TypedSimpleState, tvec,
};
use tract_onnx::tract_hir::infer::InferenceFact;

use super::Shape;
use crate::engine::{Network, Verdict};

/// See the module [`super`] for its inputs and outputs.
pub(super) struct OnnxNetwork {
    /// Spawned once: that takes as long as ten operations.
    plan: TypedSimpleState,
    shape: Shape,
    state: Vec<f32>,
}

impl OnnxNetwork {
    /// Parses, fixes the shapes and optimises. A panic of the parser on a malformed file is an error here.
    pub(super) fn new(bytes: &[u8], shape: Shape) -> Result<Self, String> {
        let built = catch_unwind(AssertUnwindSafe(|| build(bytes, shape)));
        let plan = match built {
            Ok(plan) => plan.map_err(|e| format!("not a network that can be used: {e:#}"))?,
            Err(_) => return Err("not a network that can be used: the ONNX reader failed on it".into()),
        };
        let plan = plan.spawn().map_err(|e| format!("not a network that can be used: {e:#}"))?;
        let mut network = Self { plan, shape, state: vec![0.0; shape.state] };
        network.run(&vec![0.0; shape.inputs], &mut Verdict::new(shape.targets, shape.scores))?;
        network.reset();
        Ok(network)
    }
}

fn build(bytes: &[u8], shape: Shape) -> TractResult<Arc<TypedRunnableModel>> {
    let fact = |n: usize| InferenceFact::dt_shape(f32::datum_type(), [1, n]);
    let mut model =
        tract_onnx::onnx().model_for_read(&mut Cursor::new(bytes))?.with_input_fact(0, fact(shape.inputs))?;
    if shape.state > 0 {
        model = model.with_input_fact(1, fact(shape.state))?;
    }
    model.into_optimized()?.into_runnable()
}

impl Network for OnnxNetwork {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        let failed = |e| format!("inference: {e:#}");
        let mut inputs = tvec!(Tensor::from_shape(&[1, x.len()], x).map_err(failed)?.into_tvalue());
        if self.shape.state > 0 {
            inputs.push(Tensor::from_shape(&[1, self.state.len()], &self.state).map_err(failed)?.into_tvalue());
        }
        let outputs = catch_unwind(AssertUnwindSafe(|| self.plan.run(inputs)))
            .map_err(|_| "inference: the network failed".to_string())?
            .map_err(failed)?;
        let mut outputs = outputs.iter();
        take(outputs.next(), "expected", &mut verdict.expected)?;
        if self.shape.scores {
            take(outputs.next(), "parts", &mut verdict.parts)?;
            take(outputs.next(), "score", std::slice::from_mut(&mut verdict.score))?;
        }
        if self.shape.state > 0 {
            take(outputs.next(), "state", &mut self.state)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state.fill(0.0);
    }
}

/// Copies an output of shape `[1, n]`.
fn take(output: Option<&TValue>, name: &str, into: &mut [f32]) -> Result<(), String> {
    let output = output.ok_or_else(|| format!("inference: the network has no output `{name}`"))?;
    if output.datum_type() != f32::datum_type() || output.shape() != [1, into.len()] {
        return Err(format!(
            "its output `{name}` is {:?} of shape {:?}, the manifest says float32 of shape [1, {}]",
            output.datum_type(),
            output.shape(),
            into.len()
        ));
    }
    let view = output.to_plain_array_view::<f32>().map_err(|e| format!("inference: {e:#}"))?;
    into.iter_mut().zip(view.iter()).for_each(|(to, from)| *to = *from);
    Ok(())
}
