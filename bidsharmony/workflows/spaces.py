"""The part of a run's graph that brings its canonical images to standard spaces."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.bids.templates import Template
from bidsharmony.interfaces.spaces import BringToSpace
from bidsharmony.workflows.outputs import SPACE_PRODUCTS, TRANSFORM, space_port


def connect_spaces(
    workflow: Workflow,
    spaces: Sequence[Template],
    harmonize_wf: Workflow,
    measure: Node,
    outputs_wf: Workflow,
) -> None:
    """Add one registration per space: canonical images go in, products and their figures out.

    Parameters
    ----------
    workflow : Workflow
        of the run
    spaces : sequence of Template
        at least one
    harmonize_wf : Workflow
        gives the canonical images
    measure : Node
        takes the figures of every space, and its picture
    outputs_wf : Workflow
        made for the same spaces
    """
    merged = {
        port: Node(Merge(len(spaces)), name=name, run_without_submitting=True)
        for port, name in (('facts', 'space_facts'), ('figure_file', 'space_figures'))
    }
    made = (*(product.port for product in SPACE_PRODUCTS), TRANSFORM)
    for number, template in enumerate(spaces):
        bring = Node(
            BringToSpace(
                template_file=str(template.home / template.image),
                space=str(template.space),
                uris=[template.uri(name) for name in template.files],
            ),
            name=f'bring_to_space{number}',
        )
        if template.mask is not None:
            bring.inputs.template_mask = str(template.home / template.mask)
        canonical = ('b0_file', 'trace_file', 'uncertainty_file')
        workflow.connect([
            (harmonize_wf, bring, [
                ('outputnode.canonical_mask', 'mask_file'),
                *((f'outputnode.{port}', port) for port in canonical),
            ]),
            (bring, outputs_wf, [
                (port, f'inputnode.{space_port(number, port)}') for port in made
            ]),
            *((bring, node, [(port, f'in{number + 1}')]) for port, node in merged.items()),
        ])  # fmt: skip
    workflow.connect([
        (merged['facts'], measure, [('out', 'spaces')]),
        (merged['figure_file'], measure, [('out', 'space_figures')]),
    ])  # fmt: skip
