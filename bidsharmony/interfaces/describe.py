"""Write the sidecar of every image that a run yields."""

from __future__ import annotations

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from bidsharmony.interfaces import sidecars

CANONICAL_GRID = 'In-plane grid of the network, field of view and slices as acquired.'


class _DescribeOutputsInput(BaseInterfaceInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="the scanner's sidecar, merged by inheritance")
    sources = traits.List(traits.Str, mandatory=True, desc='BIDS URIs of the files used')
    mask_given = traits.Bool(False, usedefault=True, desc='the brain mask came with the series')
    aligned_to = traits.Str(desc='BIDS URI of an image in the space that the names state')
    denoising = traits.Dict(mandatory=True, desc='mppca, rician: whether they were done')
    trace_facts = traits.Dict(mandatory=True, desc='how the trace image was made')
    network_facts = traits.Dict(mandatory=True, desc='what the canonical images are')
    series_facts = traits.Dict(
        desc='of the series, where one is made: voxel_mm, fwhm_mm, noise_gain'
    )


class _DescribeOutputsOutput(TraitedSpec):
    series = traits.Dict(desc='harmonized series')
    canonical = traits.Dict(desc='canonical b=0 and trace image')
    adc = traits.Dict(desc='canonical ADC')
    mask = traits.Dict(desc='brain on the grid of the series')
    canonical_mask = traits.Dict(desc='brain on the canonical grid')
    gain = traits.Dict()
    biasfield = traits.Dict()
    noise = traits.Dict()
    uncertainty = traits.Dict()
    blend = traits.Dict()


class DescribeOutputs(SimpleInterface):
    """Say in sidecars what each image is, where it comes from and in which unit."""

    input_spec = _DescribeOutputsInput
    output_spec = _DescribeOutputsOutput

    def _run_interface(self, runtime):
        from bidsharmony.network.inference import CANONICAL

        sidecar, sources = self.inputs.sidecar, list(self.inputs.sources)
        network = self.inputs.network_facts
        facts = {
            'canonical': {**CANONICAL, 'SliceThickness': network['thickness_mm']['after']},
            'fwhm_mm': network['canonical_fwhm_mm'],
            'profile_mm': network['canonical_profile_mm'],
            'extrapolated': self.inputs.trace_facts['extrapolated'],
            'strength': network['strength'],
        }
        denoised = sidecars.denoising_sidecar(**self.inputs.denoising)
        if isdefined(self.inputs.series_facts):
            made = {**self.inputs.series_facts, 'strength': network['strength']}
            self._results['series'] = {
                **sidecars.series_sidecar(sidecar, sources, made),
                **denoised,
            }
            self._results['noise'] = sidecars.noise_sidecar(sources, **self.inputs.denoising)
        self._results['canonical'] = sidecars.canonical_sidecar(sidecar, sources, **facts)
        self._results['adc'] = sidecars.canonical_sidecar(
            sidecar, sources, **facts, units='mm^2/s'
        )
        mask = sidecars.mask_sidecar(sources, given=self.inputs.mask_given)
        self._results['mask'] = mask
        self._results['canonical_mask'] = {
            **mask,
            'Resolution': CANONICAL_GRID,
        }
        for name, text in (
            (
                'gain',
                'Canonical unit per unit of the bias-corrected series, the same in all volumes, '
                "which are multiplied by its power of the series' HarmonizationStrength.",
            ),
            (
                'biasfield',
                'Receive field, mean 1 in the brain; every volume is divided by its power of the '
                "series' HarmonizationStrength.",
            ),
            (
                'uncertainty',
                'Uncertainty of the canonical images, canonical white-matter b=0 = 1.',
            ),
            (
                'blend',
                'Weight, 0 to 1, of the scan times the gain in the canonical images: where they, '
                'degraded as the scanner does it, would not have given the scan back.',
            ),
        ):
            self._results[name] = sidecars.map_sidecar(sources, text)
        if isdefined(self.inputs.aligned_to):
            for described in self._results.values():
                described['SpatialReference'] = self.inputs.aligned_to
        return runtime
