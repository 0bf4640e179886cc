"""The graph that names every derivative of a run and writes it to the staging folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.bids.names import output_stem, spaceless
from bidsharmony.bids.templates import Template
from bidsharmony.interfaces.bids import DerivativesDataSink
from bidsharmony.interfaces.describe import DescribeOutputs
from bidsharmony.interfaces.spaces import DESCRIBED, DescribeSpace

HARMONIZED = 'harmonized'
"""Label of harmonized images, unless another one was asked for."""

QC = 'qc'


class Product(NamedTuple):
    """Name one output: its port, its entities and which sidecar describes it."""

    port: str
    desc: str
    suffix: str
    extension: str = '.nii.gz'
    sidecar: str = ''
    resolution: str = ''
    of_series: bool = False

    @property
    def ending(self) -> str:
        """Write what follows the run's stem in the file name.

        Examples
        --------
        >>> Product('canonical_mask', 'brain', 'mask', resolution='canonical').ending
        '_res-canonical_desc-brain_mask.nii.gz'
        """
        res = f'_res-{self.resolution}' if self.resolution else ''
        return f'{res}_desc-{self.desc}_{self.suffix}{self.extension}'


PRODUCTS = (
    Product('dwi_file', HARMONIZED, 'dwi', sidecar='series', of_series=True),
    Product('bval_file', HARMONIZED, 'dwi', '.bval', of_series=True),
    Product('bvec_file', HARMONIZED, 'dwi', '.bvec', of_series=True),
    Product('b0_file', HARMONIZED, 'dwiref', sidecar='canonical'),
    Product('trace_file', HARMONIZED, 'trace', sidecar='canonical'),
    Product('adc_file', HARMONIZED, 'ADC', sidecar='adc'),
    Product('mask_file', 'brain', 'mask', sidecar='mask'),
    Product('canonical_mask', 'brain', 'mask', sidecar='canonical_mask', resolution='canonical'),
    Product('gain_file', 'gain', 'dwimap', sidecar='gain'),
    Product('field_file', 'biasfield', 'dwimap', sidecar='biasfield'),
    Product('noise_file', 'noise', 'dwimap', sidecar='noise', of_series=True),
    Product('uncertainty_file', 'uncertainty', 'dwimap', sidecar='uncertainty'),
    Product('blend_file', 'blend', 'dwimap', sidecar='blend'),
    Product('qc_file', HARMONIZED, QC, '.json'),
    Product('audit_file', 'audit', 'slices', '.npz'),
)


SPACE_PRODUCTS = (
    Product('b0_file', HARMONIZED, 'dwiref', sidecar='canonical'),
    Product('trace_file', HARMONIZED, 'trace', sidecar='canonical'),
    Product('adc_file', HARMONIZED, 'ADC', sidecar='adc'),
    Product('mask_file', 'brain', 'mask', sidecar='canonical_mask'),
    Product('uncertainty_file', 'uncertainty', 'dwimap', sidecar='uncertainty'),
)
"""What is made in every standard space, beside the transform that leads there."""

TRANSFORM = 'xfm_file'


def space_port(number: int, port: str) -> str:
    """Name the port of a product in one of the standard spaces."""
    return f'space{number}_{port}'


def products_of(*, series: bool, desc: str = HARMONIZED) -> tuple[Product, ...]:
    """List the products of a run that makes a series, or of one that makes none.

    Parameters
    ----------
    series : bool
    desc : str
        label of harmonized images and tables; the qc file keeps its own, as `group` looks for it

    Examples
    --------
    >>> [product.ending for product in products_of(series=True, desc='x')][:2]
    ['_desc-x_dwi.nii.gz', '_desc-x_dwi.bval']
    """
    made = (product for product in PRODUCTS if series or not product.of_series)
    return tuple(_labelled(product, desc) for product in made)


def _labelled(product: Product, desc: str) -> Product:
    """Give a harmonized image the label that was asked for."""
    named = product.desc == HARMONIZED and product.suffix != QC
    return product._replace(desc=desc) if named else product


def expected_endings(*, series: bool = True, desc: str = HARMONIZED) -> tuple[str, ...]:
    """List what follows the stem in the name of every file of a finished run.

    Parameters
    ----------
    series : bool
        whether the run makes a harmonized series
    desc : str
        label of harmonized images

    Examples
    --------
    >>> '_desc-harmonized_dwi.json' in expected_endings(), len(expected_endings())
    (True, 26)
    >>> '_desc-harmonized_dwi.json' in expected_endings(series=False)
    False
    """
    products = products_of(series=series, desc=desc)
    sidecars = [
        product.ending.removesuffix('.nii.gz') + '.json' for product in products if product.sidecar
    ]
    return (*(product.ending for product in products), *sidecars)


def standard_names(
    stem: str, spaces: Sequence[Template], desc: str = HARMONIZED
) -> tuple[str, ...]:
    """List the names of a run's files in standard spaces.

    Examples
    --------
    >>> from bidsharmony.bids.templates import Space
    >>> mni = Template(Space('MNI152NLin2009cAsym', resolution=2), Path(), 'a', 'b')
    >>> names = standard_names('sub-01_space-ACPC', [mni])
    >>> names[0]
    'sub-01_space-MNI152NLin2009cAsym_res-2_desc-harmonized_dwiref.nii.gz'
    >>> names[-1], len(names)
    ('sub-01_from-dwi_to-MNI152NLin2009cAsym_res-2_mode-image_xfm.json', 12)
    """
    found = []
    for template in spaces:
        images = _in_space(stem, template)
        found += [f'{images}{_labelled(product, desc).ending}' for product in SPACE_PRODUCTS]
        found.append(f'{_to_space(stem, template)}_mode-image_xfm.nii.gz')
    return (*found, *(f'{name.removesuffix(".nii.gz")}.json' for name in found))


def _in_space(stem: str, template: Template) -> str:
    return f'{spaceless(stem)}_space-{template.space.label}'


def _to_space(stem: str, template: Template) -> str:
    return f'{spaceless(stem)}_from-dwi_to-{template.space.label}'


def init_outputs_wf(
    *,
    source_file: Path,
    sources: list[str],
    sidecar: dict,
    denoising: dict[str, bool],
    staging_dir: Path,
    series: bool,
    spaces: Sequence[Template] = (),
    desc: str = HARMONIZED,
    name: str = 'outputs_wf',
) -> Workflow:
    """Write every product of a run, each image with its sidecar.

    Parameters
    ----------
    source_file : Path
        the input image, whose entities the outputs inherit
    sources : list of str
        BIDS URIs of the files used
    sidecar : dict
        the scanner's, merged by inheritance
    denoising : dict
        ``mppca`` and ``rician``: what was done to the series before anything else
    staging_dir : Path
    series : bool
        whether the run makes a harmonized series
    spaces : sequence of Template
        standard spaces that images were brought to
    desc : str
        label of harmonized images

    Inputs
    ------
    one port per product (see ``products_of``; for each space ``space_port``), and
    figure_files, figure_descs
        pictures and what they show
    trace_facts, network_facts, series_facts
        what the sidecars say of the trace image, the network and the series
    """
    workflow = Workflow(name=name)
    products = products_of(series=series, desc=desc)
    ports = [product.port for product in products]
    ports += [
        space_port(number, port)
        for number in range(len(spaces))
        for port in (*(product.port for product in SPACE_PRODUCTS), TRANSFORM)
    ]
    extra = ['figure_files', 'figure_descs', 'trace_facts', 'network_facts', 'series_facts']
    inputnode = Node(IdentityInterface(fields=[*ports, *extra]), name='inputnode')

    describe = Node(
        DescribeOutputs(sidecar=sidecar, sources=sources, denoising=denoising),
        name='describe',
        run_without_submitting=True,
    )
    workflow.connect([
        (inputnode, describe, [
            (port, port) for port in ('trace_facts', 'network_facts', 'series_facts')
        ]),
    ])  # fmt: skip

    for product in products:
        sink = _product_sink(product, product.port, source_file, staging_dir)
        if product.resolution:
            sink.inputs.grid = product.resolution
        workflow.connect([(inputnode, sink, [(product.port, 'in_file')])])
        if product.sidecar:
            workflow.connect([(describe, sink, [(product.sidecar, 'meta_dict')])])

    stem = output_stem(source_file)
    for number, template in enumerate(spaces):
        space = template.space
        tell = Node(
            DescribeSpace(
                uris=[template.uri(name) for name in template.files],
                resolution=f'Grid of {template.image}.' if space.resolution else '',
            ),
            name=f'describe_space{number}',
            run_without_submitting=True,
        )
        workflow.connect([(describe, tell, [(name, name) for name in DESCRIBED])])
        xfm = Product(TRANSFORM, '', 'xfm', sidecar='xfm')
        for product in (*(_labelled(product, desc) for product in SPACE_PRODUCTS), xfm):
            port = space_port(number, product.port)
            sink = _product_sink(product, port, source_file, staging_dir)
            place = _to_space if product is xfm else _in_space
            sink.inputs.stem = place(stem, template)
            workflow.connect([
                (inputnode, sink, [(port, 'in_file')]),
                (tell, sink, [(product.sidecar, 'meta_dict')]),
            ])  # fmt: skip

    figures = _sink('figures', source_file, staging_dir)
    figures.inputs.suffix = 'dwi'
    figures.inputs.datatype = 'figures'
    workflow.connect([
        (inputnode, figures, [('figure_files', 'in_file'), ('figure_descs', 'desc')]),
    ])  # fmt: skip
    return workflow


def _product_sink(product: Product, port: str, source_file: Path, staging_dir: Path) -> Node:
    """Make the sink of one product."""
    sink = _sink(port.removesuffix('_file'), source_file, staging_dir)
    if product.desc:
        sink.inputs.desc = product.desc
    sink.inputs.suffix = product.suffix
    # nipype's default would drop the '.gz'.
    sink.inputs.compress = product.extension.endswith('.gz')
    return sink


def _sink(name: str, source_file: Path, staging_dir: Path) -> Node:
    """Make one sink; headers were written as they should be, so it leaves them alone."""
    return Node(
        DerivativesDataSink(
            base_directory=str(staging_dir), source_file=str(source_file), check_hdr=False
        ),
        name=f'ds_{name}',
        # on a cluster: a link takes no time, a job does
        run_without_submitting=True,
    )
