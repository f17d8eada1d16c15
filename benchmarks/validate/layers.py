"""Convolutional networks as the chips' papers have them: sizes of layers, in their order."""

from dataclasses import dataclass, replace

from dnncc.targets import dataflow


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of square maps and filters: `channels` and `filters` are of all groups.

    `padding` is above and below together, `outputs` the side of the ofmap, `size` of the filter.
    """

    name: str
    batch: int
    channels: int
    filters: int
    outputs: int
    size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def inputs(self) -> int:
        """The side of the ifmap, padded."""
        return (self.outputs - 1) * self.stride + self.size

    @property
    def weights(self) -> int:
        return self.channels // self.groups * self.filters * self.size**2

    @property
    def ofmap(self) -> int:
        """Words of the ofmaps of the batch."""
        return self.batch * self.filters * self.outputs**2

    def work(self) -> dataflow.Work:
        return dataflow.Work.of(
            n=self.batch,
            g=self.groups,
            k=self.filters // self.groups,
            c=self.channels // self.groups,
            p=self.outputs,
            q=self.outputs,
            r=self.size,
            s=self.size,
            stride_y=self.stride,
            stride_x=self.stride,
        )

    def of_batch(self, batch: int) -> "Layer":
        return replace(self, batch=batch)


def alexnet(batch: int) -> tuple[Layer, ...]:
    """The original, whose CONV2, 4 and 5 have two groups (Krizhevsky et al., NIPS 2012)."""
    return (
        Layer("CONV1", batch, 3, 96, 55, 11, stride=4),
        Layer("CONV2", batch, 96, 256, 27, 5, padding=4, groups=2),
        Layer("CONV3", batch, 256, 384, 13, 3, padding=2),
        Layer("CONV4", batch, 384, 384, 13, 3, padding=2, groups=2),
        Layer("CONV5", batch, 384, 256, 13, 3, padding=2, groups=2),
    )


def alexnet_fc(batch: int) -> tuple[Layer, ...]:
    return (
        Layer("FC1", batch, 256, 4096, 1, 6),
        Layer("FC2", batch, 4096, 4096, 1, 1),
        Layer("FC3", batch, 4096, 1000, 1, 1),
    )


def vgg16(batch: int) -> tuple[Layer, ...]:
    """The convolutions of Simonyan and Zisserman's configuration D (ICLR 2015)."""
    stages = ((64, 224, 2), (128, 112, 2), (256, 56, 3), (512, 28, 3), (512, 14, 3))
    layers, channels = [], 3
    for stage, (filters, side, count) in enumerate(stages, 1):
        for number in range(1, count + 1):
            name = f"CONV{stage}-{number}"
            layers.append(Layer(name, batch, channels, filters, side, 3, padding=2))
            channels = filters
    return tuple(layers)
