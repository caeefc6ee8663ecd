"""Meshes to pictures by OpenGL without a window: colour, who is seen where, and how far away it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline.types import FloatArray, Image, IntArray

MATERIALS = 16
PATCH = 128  # px, side of a texture
_NEAR, _FAR = 0.1, 200.0  # m
_SAMPLES = 2  # the picture is drawn this many times larger in each direction

_VERTEX = """
#version 330
uniform vec2 focal; uniform vec2 offset; uniform vec2 range;
in vec3 position; in vec3 normal; in vec3 rest; in vec3 tint; in float material; in float owner;
out vec3 g_position; out vec3 g_normal; out vec3 g_rest; out vec3 g_tint; out float g_material; out float g_owner;
void main() {
    g_position = position; g_normal = normal; g_rest = rest; g_tint = tint; g_material = material; g_owner = owner;
    float z = position.z;
    float depth = ((range.y + range.x) * z - 2.0 * range.x * range.y) / (range.y - range.x);
    gl_Position = vec4(focal * position.xy + offset * z, depth, z);
}
"""
# Hands each fragment the materials of all three corners, so that it can take the one with most weight.
_GEOMETRY = """
#version 330
layout(triangles) in; layout(triangle_strip, max_vertices = 3) out;
in vec3 g_position[]; in vec3 g_normal[]; in vec3 g_rest[]; in vec3 g_tint[]; in float g_material[]; in float g_owner[];
out vec3 v_position; out vec3 v_normal; out vec3 v_rest; out vec3 v_tint; out vec3 v_weights;
flat out ivec3 v_materials; flat out float v_owner;
void main() {
    for (int i = 0; i < 3; i++) {
        v_position = g_position[i]; v_normal = g_normal[i]; v_rest = g_rest[i]; v_tint = g_tint[i];
        v_weights = vec3(i == 0, i == 1, i == 2);
        v_materials = ivec3(vec3(g_material[0], g_material[1], g_material[2]) + 0.5);
        v_owner = g_owner[0];
        gl_Position = gl_in[i].gl_Position;
        EmitVertex();
    }
    EndPrimitive();
}
"""
_FRAGMENT = """
#version 330
uniform vec3 base[16]; uniform vec3 second[16]; uniform vec4 look[16]; uniform vec4 cloth[16];
uniform vec3 light; uniform vec3 light_colour; uniform vec3 ambient; uniform float phase;
uniform sampler2DArray patches;
in vec3 v_position; in vec3 v_normal; in vec3 v_rest; in vec3 v_tint; in vec3 v_weights;
flat in ivec3 v_materials; flat in float v_owner;
layout(location = 0) out vec4 colour; layout(location = 1) out vec2 facts;
void main() {
    ivec3 k = v_materials;
    vec3 w = v_weights;
    int m = w.x > 0.5 ? k.x : w.y > 0.5 ? k.y : w.z > 0.5 ? k.z : k.x == k.y || k.x == k.z ? k.x : k.y;
    vec4 l = look[m];   // layer, strength, scale, logo's layer
    vec4 c = cloth[m];  // folds, stripes, direction, shine
    vec3 wave = sin(v_rest.zxy * 23.0 + 2.5 * sin(v_rest.yzx * 14.0 + phase) + phase)
              + 0.5 * sin(v_rest.yzx * 61.0 + 2.0 * sin(v_rest.zxy * 33.0 - phase));
    vec3 n = normalize(normalize(v_normal) + c.x * wave);
    vec3 away = normalize(v_position);
    if (dot(n, away) > 0.25) n = -n;
    vec2 uv = vec2(v_rest.x + 0.8 * v_rest.y, v_rest.z);
    vec3 albedo = base[m];
    if (c.y > 0.0) {
        float along = mix(uv.y, uv.x, c.z) * c.y;
        float other = c.z > 0.3 && c.z < 0.7 ? step(0.5, fract((uv.x - uv.y) * c.y)) : 0.0;
        if (step(0.5, fract(along)) + other > 0.5) albedo = second[m];
    }
    vec3 texel = texture(patches, vec3(uv * l.z + phase, l.x)).rgb;
    albedo = mix(albedo, mix(albedo * (0.4 + 1.2 * dot(texel, vec3(0.33))), texel, c.w < 0.0 ? 1.0 : 0.35), l.y);
    vec2 logo = (vec2(v_rest.x, v_rest.z) - vec2(0.0, 0.30)) / vec2(0.09, 0.07);
    if (l.w >= 0.0 && v_rest.y < -0.03 && abs(logo.x) < 1.0 && abs(logo.y) < 1.0)
        albedo = texture(patches, vec3(logo * 0.3 + phase, l.w)).rgb;
    albedo *= v_tint;
    float lit = dot(n, -light);
    float shade = mix(max(lit, 0.0), 0.5 + 0.5 * lit, 0.35);
    float shine = pow(max(dot(reflect(light, n), -away), 0.0), 24.0) * max(c.w, 0.0);
    float sky = 0.75 - 0.25 * n.y;
    colour = vec4(sqrt(clamp(albedo * (ambient * sky + light_colour * shade) + shine * light_colour, 0.0, 1.0)), 1.0);
    facts = vec2(v_owner, v_position.z);
}
"""


@dataclass(frozen=True)
class Mesh:
    """Triangles before the camera.

    vertices: float32 [V, 14]: position (m; x right, y down, z away), normal, place in the body at rest (m), tint (a
    factor), material (0 to 15), owner (number of the person, -1 a thing). faces: int32 [F, 3]. looks: float32
    [14, 16], of each material: base colour (3, linear RGB), second colour (3), look (4), cloth (4).
    """

    vertices: FloatArray
    faces: IntArray
    looks: FloatArray


@dataclass(frozen=True)
class Light:
    """direction: float [3], the way that light goes. colour, ambient: float [3], linear RGB."""

    direction: FloatArray
    colour: FloatArray
    ambient: FloatArray


@dataclass(frozen=True)
class View:
    """What the camera sees.

    colour: float32 [H, W, 4], BGR times cover, and cover, 0 to 1. owner: int16 [H, W], number of the person, -1 a
    thing, -2 nothing. depth: float32 [H, W], m.
    """

    colour: FloatArray
    owner: IntArray
    depth: FloatArray


class Renderer:
    """An OpenGL context without a window. Raises OSError where there is none, ValueError without moderngl."""

    def __init__(self) -> None:
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer, if it is the one
        try:
            import moderngl
        except ImportError:
            raise ValueError('synthetic people are drawn by moderngl: pip install "darkstream[synthetic]"') from None
        without_window: Any = {"standalone": True, "backend": "egl"}  # moderngl's types know no backend
        try:
            self._context: Any = moderngl.create_context(**without_window)
        except Exception as error:  # moderngl raises its own and the loader's
            raise OSError(
                f"no OpenGL without a window ({error}): install EGL, on Debian apt install libegl1 libgl1-mesa-dri"
            ) from None
        self._context.enable(moderngl.DEPTH_TEST)
        self._program: Any = self._context.program(
            vertex_shader=_VERTEX, geometry_shader=_GEOMETRY, fragment_shader=_FRAGMENT
        )
        self._targets: dict[tuple[int, int], Any] = {}

    def draw(
        self, meshes: Sequence[Mesh], size: tuple[int, int], focal: float, light: Light, patches: Image, phase: float
    ) -> View:
        """Draw meshes. size: width and height px. focal: px. patches: uint8 [n, PATCH, PATCH, 3], RGB."""
        width, height = size
        frame, colours, facts = self._target(width * _SAMPLES, height * _SAMPLES)
        frame.use()
        frame.clear(0.0, 0.0, 0.0, 0.0)
        facts_empty = np.array([-2.0, _FAR], np.float32)
        texture = self._context.texture_array((PATCH, PATCH, len(patches)), 3, np.ascontiguousarray(patches).tobytes())
        texture.build_mipmaps()
        texture.use(0)
        self._set(focal=(2 * focal / width, -2 * focal / height), offset=(0.0, 0.0), range=(_NEAR, _FAR), phase=phase)
        self._set(light=light.direction, light_colour=light.colour, ambient=light.ambient)
        for mesh in meshes:
            self._draw(mesh)
        shape = height * _SAMPLES, width * _SAMPLES
        colour = np.frombuffer(colours.read(), np.uint8).reshape(*shape, 4)[::-1]
        fact = np.frombuffer(facts.read(), np.float32).reshape(*shape, 2)[::-1]
        texture.release()
        small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        fact = np.where(colour[::_SAMPLES, ::_SAMPLES, 3:] > 0, fact[::_SAMPLES, ::_SAMPLES], facts_empty)
        return View(small[..., [2, 1, 0, 3]], np.rint(fact[..., 0]).astype(np.int16), fact[..., 1])

    def _draw(self, mesh: Mesh) -> None:
        names = (("base", 0, 3), ("second", 3, 6), ("look", 6, 10), ("cloth", 10, 14))
        for name, first, last in names:
            self._program[name].write(np.ascontiguousarray(mesh.looks[first:last].T, np.float32).tobytes())
        vertices = self._context.buffer(np.ascontiguousarray(mesh.vertices, np.float32).tobytes())
        faces = self._context.buffer(np.ascontiguousarray(mesh.faces, np.int32).tobytes())
        layout = (vertices, "3f 3f 3f 3f 1f 1f", "position", "normal", "rest", "tint", "material", "owner")
        array = self._context.vertex_array(self._program, [layout], faces)
        array.render()
        for each in (array, vertices, faces):
            each.release()

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            if name in self._program:
                self._program[name].value = value if np.isscalar(value) else tuple(map(float, value))

    def _target(self, width: int, height: int) -> Any:
        """A frame to draw in with its two pictures; kept, for as long as the size stays the same."""
        if (width, height) not in self._targets:
            for old in self._targets.values():
                for each in old:
                    each.release()
            colours = self._context.texture((width, height), 4)
            facts = self._context.texture((width, height), 2, dtype="f4")
            depth = self._context.depth_renderbuffer((width, height))
            frame = self._context.framebuffer([colours, facts], depth)
            self._targets = {(width, height): (frame, colours, facts, depth)}
        return self._targets[width, height][:3]
